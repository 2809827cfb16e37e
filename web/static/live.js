// Keeps a page current: one event stream, values changed in place, parts of the page read again when states or alerts
// change, and the forms of alerts sent without leaving the page. Everything works without it, except that.

const body = document.body;
const words = (key) => body.dataset[key.replace(/[-.]([a-z0-9])/g, (_, letter) => letter.toUpperCase())] ?? "";
const live = document.getElementById("live");
const connection = document.getElementById("connection");
const said = document.getElementById("said");
const csrf = document.querySelector("meta[name=csrf]").content;

const SILENCE_MS = 20000; // four heartbeats without one: the connection is taken for lost
const HIDDEN_MS = 60000; // a page nobody looks at gives its connection back
const SHORTEST_MS = 1000; // between two readings of the page's live part
const RETRY_MS = [1000, 2000, 5000, 10000, 30000];

let source = null;
let state = "connecting";
let lastHeard = Date.now();
let retries = 0;
let retryTimer = 0;
let hiddenTimer = 0;
let refreshTimer = 0;
let refreshing = false;
let refreshedAt = 0;
let again = false;
let serverNow = Number(body.dataset.now);

const clock = new Intl.DateTimeFormat("en-GB", { timeZone: body.dataset.zone, hour: "2-digit", minute: "2-digit", second: "2-digit" });
const title = document.title;

// ---- connection ----

function show(next) {
  state = next;
  if (!connection) return;
  connection.hidden = false;
  connection.className = `connection ${next}`;
  body.classList.toggle("stale-page", next === "lost" || next === "ended");
  if (next === "lost") {
    connection.textContent = words("live.lost").replace("{time}", clock.format(serverNow).slice(0, 5));
  } else if (next === "ended") {
    connection.textContent = `${words("live.ended")} `;
    const link = document.createElement("a");
    link.href = `/login?next=${encodeURIComponent(location.pathname + location.search)}`;
    link.textContent = words("live.log.in");
    connection.append(link);
  } else {
    connection.textContent = words(`live.${next}`);
  }
  if (next === "on") showClock();
}

function showClock() {
  if (state !== "on" || !connection) return;
  const time = document.createElement("time");
  time.textContent = clock.format(serverNow);
  time.setAttribute("aria-hidden", "true"); // a status that is read aloud every five seconds helps nobody
  connection.replaceChildren(`${words("live.on")} `, time);
}

function countInTitle() {
  const waiting = live?.querySelectorAll(".alert.h-none:not(.s-over)").length ?? 0;
  document.title = waiting ? `(${waiting}) ${title}` : title;
}

function heard(event) {
  lastHeard = Date.now();
  if (state !== "on") {
    retries = 0;
    show("on");
  }
  return event.data ? JSON.parse(event.data) : {};
}

function open() {
  close();
  source = new EventSource(body.dataset.stream);
  source.addEventListener("hello", (event) => { beat(heard(event)); refresh(); });
  source.addEventListener("heartbeat", (event) => beat(heard(event)));
  source.addEventListener("latest", (event) => heard(event).forEach(showValue));
  for (const name of ["alert", "transition", "policy", "message", "resync"]) {
    source.addEventListener(name, (event) => { heard(event); refreshSoon(); });
  }
  source.addEventListener("error", lost);
}

function close() {
  clearTimeout(retryTimer);
  source?.close();
  source = null;
}

async function lost() {
  close();
  if (state === "on" || state === "connecting") show("lost");
  retryTimer = setTimeout(open, RETRY_MS[Math.min(retries++, RETRY_MS.length - 1)]);
  try {
    const answer = await fetch("/api/v1/account", { headers: { accept: "application/json" } });
    if (answer.status === 401 || answer.status === 403) {
      close();
      show("ended");
    }
  } catch {
    // The server cannot be reached: the page already says so, and the timer tries again.
  }
}

function watch() {
  if (source && Date.now() - lastHeard > SILENCE_MS) lost();
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(hiddenTimer);
  if (document.hidden) {
    hiddenTimer = setTimeout(() => { close(); hiddenTimer = -1; }, HIDDEN_MS);
  } else if (hiddenTimer === -1 && state !== "ended") {
    hiddenTimer = 0;
    show("connecting");
    open();
  }
});

// ---- values ----

const arrived = new Map(); // values that came while a part of the page was being read again

function showValue(item) {
  if (refreshing) arrived.set(item.key, item);
  serverNow = Math.max(serverNow, Date.parse(item.received));
  for (const cell of document.querySelectorAll(`[data-series="${CSS.escape(item.key)}"]`)) {
    cell.dataset.over = item.shown.over ?? "";
    cell.querySelector(".number").textContent = item.shown.number;
    cell.classList.remove("fresh");
    void cell.offsetWidth; // lets the animation start again
    cell.classList.add("fresh");
  }
  for (const cell of document.querySelectorAll(`[data-time-of="${CSS.escape(item.key)}"]`)) {
    const time = cell.querySelector("time");
    if (time && item.shown.time) {
      time.dateTime = item.time;
      time.removeAttribute("title");
      time.textContent = item.shown.time;
    }
  }
  const basis = Math.max(Date.parse(item.time) + item.period_s * 1000, Date.parse(item.received));
  for (const cell of document.querySelectorAll(`[data-age-of="${CSS.escape(item.key)}"]`)) {
    cell.dataset.basis = String(basis);
    showAge(cell);
  }
  document.dispatchEvent(new CustomEvent("greenmine:value", { detail: item }));
}

function showAge(cell) {
  const seconds = Math.max(0, Math.floor((serverNow - Number(cell.dataset.basis)) / 1000));
  const [key, size] = seconds < 120 ? ["s", 1] : seconds < 7200 ? ["m", 60] : seconds < 172800 ? ["h", 3600] : ["d", 86400];
  cell.textContent = words(`age.${key}`).replace("{n}", String(Math.floor(seconds / size)));
}

function beat(told) {
  serverNow = Date.parse(told.now);
  showClock();
  document.querySelectorAll("[data-age-of]").forEach(showAge);
  if (live && "everyBeat" in live.dataset) refreshSoon();
  const follow = live?.dataset.follow;
  const shown = live?.querySelector("[data-version]")?.dataset.version;
  if (!follow || shown === undefined) return;
  const current = follow === "*" ? Object.values(told.versions).sort().join(".") : told.versions[follow];
  if (current !== shown) refreshSoon();
}

// ---- parts of the page ----

function refreshSoon() {
  // The first change is shown at once; of many, one a second.
  const wait = Math.max(120, refreshedAt + SHORTEST_MS - Date.now());
  if (!refreshTimer) refreshTimer = setTimeout(() => { refreshTimer = 0; refresh(); }, wait);
}

async function refresh() {
  if (!live) return;
  if (refreshing) {
    again = true;
    return;
  }
  refreshing = true;
  refreshedAt = Date.now();
  arrived.clear();
  try {
    const answer = await fetch(live.dataset.part, { headers: { accept: "text/html" } });
    if (answer.status === 401) {
      close();
      show("ended");
    } else if (answer.ok && !answer.redirected) {
      replace(await answer.text());
      arrived.forEach(showValue); // the part may have been written before they came
    }
  } catch {
    lost();
  } finally {
    refreshing = false;
    if (again) {
      again = false;
      refreshSoon();
    }
  }
}

function replace(html) {
  // What a person is in the middle of must survive: notes being written, opened details, the focus.
  const drafts = [...live.querySelectorAll("input[type=text], select")].filter((input) => input.value).map((input) => [input.id, input.value]);
  const unticked = [...live.querySelectorAll("input[type=checkbox]:not(:checked)")].map((box) => box.id);
  const opened = [...live.querySelectorAll("details[open]")].map((details, place) => details.id || `${details.className}:${place}`);
  const focused = live.contains(document.activeElement) ? document.activeElement : null;
  const focusId = focused?.id;
  const focusHref = focused?.getAttribute("href");
  const caret = focused?.selectionStart;
  const parsed = new DOMParser().parseFromString(html, "text/html");
  live.replaceChildren(...parsed.body.childNodes);
  for (const [id, value] of drafts) {
    const input = document.getElementById(id);
    if (input) input.value = value;
  }
  for (const id of unticked) {
    const box = document.getElementById(id);
    if (box) box.checked = false;
  }
  [...live.querySelectorAll("details")].forEach((details) => {
    if (opened.some((name) => name === details.id || (!details.id && name.startsWith(`${details.className}:`)))) details.open = true;
  });
  const again = focusId ? document.getElementById(focusId) : focusHref ? live.querySelector(`a[href="${CSS.escape(focusHref)}"]`) : null;
  if (again) {
    again.focus({ preventScroll: true });
    if (typeof caret === "number" && again.setSelectionRange) again.setSelectionRange(caret, caret);
  }
  countInTitle();
  document.dispatchEvent(new CustomEvent("greenmine:refreshed"));
}

// ---- acts ----

const SAID = { acknowledge: "said.acknowledge", note: "said.note", resolve: "said.resolve" };

async function send(form) {
  const button = form.querySelector("button");
  const error = form.querySelector(".act-error");
  const note = form.elements.note.value.trim();
  error.hidden = true;
  if ("noteNeeded" in form.dataset && !note) {
    tell(error, words("act.note.needed"));
    return;
  }
  form.dataset.key ??= crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
  button.disabled = true;
  const label = button.textContent;
  button.textContent = words("act.sending");
  try {
    const answer = await fetch(`/api/v1/alerts/${form.dataset.alert}/${form.dataset.act}`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-csrf-token": csrf, "idempotency-key": form.dataset.key },
      body: JSON.stringify({ note }),
    });
    if (!answer.ok) {
      delete form.dataset.key;
      const problem = await answer.json();
      const title = body.dataset.language === "zh" ? problem.title_zh : problem.title;
      tell(error, [title, problem.detail].filter(Boolean).join(" "));
      return;
    }
    delete form.dataset.key;
    form.elements.note.value = "";
    said.textContent = words(SAID[form.dataset.act]);
    said.hidden = false;
    await refresh();
  } catch {
    tell(error, words("live.failed")); // the key stays, so that trying again cannot act twice
  } finally {
    button.disabled = false;
    button.textContent = label;
  }
}

function tell(place, message) {
  place.textContent = message;
  place.hidden = false;
}

document.addEventListener("submit", (event) => {
  if (event.target.matches?.("form[data-act]")) {
    event.preventDefault();
    send(event.target);
  }
});

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.account[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

if (body.dataset.stream) {
  show("connecting");
  open();
  setInterval(watch, 2000);
}
