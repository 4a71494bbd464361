// Labeled figures.

/** Adds a tile to a list. Returns the element of its value. */
export function tile(list, name, className = '') {
  const box = document.createElement('div');
  const [term, value] = ['dt', 'dd'].map((kind) => document.createElement(kind));
  box.className = className;
  term.textContent = name;
  value.textContent = '–';
  box.append(term, value);
  list.append(box);
  return value;
}
