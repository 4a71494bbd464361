// Parts of the page whose data may be outdated.

/** Shows that a part of the page has current data. `text` is the note beside it. */
export function markCurrent(part, note, text) {
  part.classList.remove('outdated');
  part.dataset.readAt = new Date().toLocaleTimeString('en-GB');
  note.className = 'note';
  note.textContent = text;
}

/** Shows that the data of a part of the page could not be read, and since when they are outdated. */
export function markOutdated(part, note, { message }) {
  const { readAt } = part.dataset;
  part.classList.add('outdated');
  note.className = 'error';
  note.textContent = readAt ? `not current since ${readAt}: ${message}` : message;
}
