// A friends list. One WebSocket to the gateway keeps this player online and receives the changes of the friends.

const byId = (id) => document.getElementById(id);
const friends = new Map(); // player id → list item
let me;
let activity = null; // what this player is doing
let socket;
let failures = 0;

byId('login').addEventListener('submit', (event) => {
  event.preventDefault();
  me = byId('player').value;
  byId('login').hidden = true;
  byId('game').hidden = false;
  byId('me').textContent = me;
  connect();
});

byId('states').addEventListener('click', (event) => {
  if (event.target.dataset.state) send({ state: event.target.dataset.state });
});

byId('doing').addEventListener('submit', (event) => {
  event.preventDefault();
  activity = { joinable: byId('joinable').checked };
  if (byId('details').value) activity.details = byId('details').value;
  const [size, max] = [byId('size').valueAsNumber, byId('max').valueAsNumber];
  if (size <= max) activity.party = { id: me, size, max };
  send({ activity });
});

byId('nothing').addEventListener('click', () => {
  activity = null;
  send({ activity });
});

byId('add').addEventListener('submit', (event) => {
  event.preventDefault();
  const id = byId('friend').value;
  byId('friend').value = '';
  if (friends.has(id)) return;
  friends.set(id, listItem(id));
  send({ watch: [id] });
});

function connect() {
  socket = new WebSocket(`${location.origin.replace('http', 'ws')}/ws?player=${encodeURIComponent(me)}`);
  socket.onopen = () => {
    failures = 0;
    show('connection', 'Connected.');
    for (const id of friends.keys()) send({ watch: [id] });
    if (activity) send({ activity }); // the service ended it with the lost connection
  };
  socket.onmessage = ({ data }) => receive(JSON.parse(data));
  socket.onclose = ({ code }) => {
    byId('friends').classList.add('outdated');
    if (code === 1008) return show('connection', 'You were signed out.');
    show('connection', 'Connecting again…');
    failures += 1;
    setTimeout(connect, Math.min(5000, 250 * 2 ** failures) * (0.5 + Math.random() / 2));
  };
}

function receive({ presences = [], feed, error }) {
  for (const { player_id: id, state, activity: doing } of presences) {
    const item = friends.get(id);
    if (!item) continue; // removed after the gateway sent this
    item.dataset.state = state;
    item.querySelector('.state').textContent = state;
    item.querySelector('.activity').textContent = doing ? summary(doing) : '';
  }
  if (feed) byId('friends').classList.toggle('outdated', feed !== 'live' && feed !== 'polling');
  if (error) show('error', error);
}

/** An activity in one line, such as "Ranked, 2/4, joinable". Other players wrote it: it is text, never HTML. */
function summary({ details, party, joinable }) {
  const parts = [details, party && `${party.size}/${party.max}`, joinable && 'joinable'];
  return parts.filter(Boolean).join(', ');
}

function listItem(id) {
  const item = document.createElement('li');
  for (const [name, text] of [['id', id], ['activity', ''], ['state', '…']]) {
    const span = item.appendChild(document.createElement('span'));
    span.className = name;
    span.textContent = text;
  }
  const remove = item.appendChild(document.createElement('button'));
  remove.textContent = 'Remove';
  remove.addEventListener('click', () => {
    friends.delete(id);
    item.remove();
    send({ unwatch: [id] });
  });
  item.dataset.player = id;
  return byId('friends').appendChild(item);
}

function send(message) {
  show('error', '');
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function show(id, text) {
  byId(id).textContent = text;
}
