// Calls to the server, with a token if it requires one.

const KEY = 'presence-token';
const dialog = document.getElementById('token-dialog');
const form = document.getElementById('token-form');
const input = document.getElementById('token');
const forget = document.getElementById('forget');

let asking = null;

/** GETs a path of this server, relative to the page. Asks the user for a token whenever the server responds with 401. */
export async function call(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem(KEY);
    const headers = token ? { authorization: `Bearer ${token}` } : {};
    const response = await fetch(path, { ...options, headers, cache: 'no-store' }).catch(() => {
      throw new Error('the server does not respond');
    });
    forget.hidden = !token;
    if (response.status !== 401) return response;
    // Another call may have asked in the meantime.
    if (token === sessionStorage.getItem(KEY)) {
      asking ??= ask(token !== null).finally(() => { asking = null; });
      await asking;
    }
  }
}

/** GETs JSON. Rejects with the detail of the server's problem. */
export async function read(path, options) {
  const response = await call(path, options);
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.detail ?? `the server responded with status ${response.status}`);
  return body;
}

export const sleep = (ms) => new Promise((wake) => setTimeout(wake, ms));

function ask(wasRefused) {
  document.getElementById('token-error').textContent = wasRefused ? 'The server does not accept this token.' : '';
  input.value = '';
  if (!dialog.open) dialog.showModal();
  return new Promise((done) => {
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEY, input.value.trim());
      dialog.close();
      done();
    }, { once: true });
  });
}

// Without a token the page behind the dialog is empty.
dialog.addEventListener('cancel', (event) => event.preventDefault());

forget.addEventListener('click', () => {
  sessionStorage.removeItem(KEY);
  location.reload();
});
