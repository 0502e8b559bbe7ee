// The picture, the numbers and the switches of the live page. The server keeps the settings: a switch sends its
// wish, and moves when the server tells all viewers what holds.
"use strict";

const find = id => document.getElementById(id);
const screen_ = document.querySelector(".screen");
const canvas = find("picture");
const brush = canvas.getContext("2d", {alpha: false});

const STAGES = [["decode", "Decode"], ["preprocess", "Prepare"], ["infer", "Infer"], ["overlay", "Draw"], ["encode", "Encode"]];
const STALE_SECONDS = 2;
const LONGEST_RETRY = 8000;

let socket = null;
let retry = 500;
let ended = false;
let settings = null;
let owed = 0; // pictures not confirmed while nobody looks
let saving = false;
let shownTimes = [];
let slidUntil = 0;
let lastSent = 0;
let sendTimer = 0;
const switches = new Map(); // class id -> its button
const bars = new Map(); // stage -> its row

// The token has done its work; it need not stay in the address bar.
if (location.search) history.replaceState(null, "", location.pathname);

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function setText(id, text) {
  const node = find(id);
  if (node.textContent !== text) node.textContent = text;
}

function setState(state, words) {
  const node = find("state");
  if (node.dataset.state !== state) node.dataset.state = state;
  setText("state", words);
}

function setMessage(text) {
  setText("message", text);
  find("message").hidden = !text;
}

// A switch that nobody hears must not look as if it worked.
function enable(on) {
  for (const id of ["opacity", "policies"]) find(id).disabled = !on;
  for (const button of find("parts").querySelectorAll("button")) button.disabled = !on;
  if (!on) find("snapshot").disabled = true;
}

function send(letter) {
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(letter));
}

function change(wish) {
  send({kind: "change", ...wish});
}

// What the server says.

const hear = {
  welcome(letter) {
    setText("title", letter.title);
    setText("details", letter.details);
    document.title = letter.title ? `${letter.title} · trtparse` : "trtparse live";
    makeSwitches(letter.classes);
    enable(true);
  },

  settings(letter) {
    settings = letter;
    const percent = Math.round(letter.opacity * 100);
    if (performance.now() > slidUntil) {
      find("opacity").value = percent;
      setText("opacity-value", `${percent} %`);
    }
    for (const radio of document.querySelectorAll("input[name=policy]")) radio.checked = radio.value === letter.policy;
    for (const [id, button] of switches) button.setAttribute("aria-pressed", String(letter.classes.includes(id)));
  },

  status(letter) {
    if (letter.number === undefined) {
      setState("waiting", "Waiting");
      return;
    }
    const stale = letter.waited > STALE_SECONDS && !ended;
    if (!ended) setState(stale ? "waiting" : "live", stale ? "Waiting" : "Live");
    if (!ended) setMessage(stale ? `No new frame for ${Math.round(letter.waited)} s` : screen_.classList.contains("has-picture") ? "" : "Waiting for the first frame");
    find("snapshot").disabled = saving;
    setText("frame", `Frame ${letter.number.toLocaleString("en")} · ${clock(letter.seconds)} · ${letter.size.join("×")}`);
    setText("fps", (stale ? 0 : letter.fps).toFixed(1));
    find("dropped-fact").hidden = letter.dropped === null;
    setText("dropped", (letter.dropped ?? 0).toLocaleString("en"));
    showPeople(letter);
    showStages(letter.stages);
    for (const [id, button] of switches) {
      const share = letter.classes[id];
      button.classList.toggle("seen", share !== undefined);
      button.querySelector(".share").textContent = share === undefined ? "" : percentage(share);
    }
  },

  notice(letter) {
    showNotice(letter.text);
  },

  refused(letter) {
    showNotice(letter.text);
  },

  ended(letter) {
    ended = true;
    setState("ended", "Ended");
    setMessage(letter.text);
  },
};

function clock(seconds) {
  const whole = Math.floor(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = number => String(number).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

function percentage(share) {
  const percent = share * 100;
  return `${percent < 9.95 ? percent.toFixed(1) : Math.round(percent)} %`;
}

function showPeople(letter) {
  const people = letter.people;
  const node = find("people");
  // Nobody was looked for: the whole frame is taken for one person.
  const words = people === null ? ["1", "whole frame"] : [String(letter.people_count), `${letter.people_so_far.toLocaleString("en")} so far`];
  if (node.dataset.words !== words.join()) {
    node.dataset.words = words.join();
    node.replaceChildren(words[0], element("small", "", words[1]));
  }
  const list = find("persons");
  list.hidden = !people || !people.length;
  list.replaceChildren(...(people ?? []).map(person => element("li", "", `#${person.id}  ${Math.round(person.score * 100)} %`)));
}

function showStages(stages) {
  const longest = Math.max(...Object.values(stages), 1e-6);
  for (const [stage, words] of STAGES) {
    if (!bars.has(stage)) {
      const row = element("li");
      const bar = element("span", "bar");
      bar.append(element("span"));
      row.append(element("span", "", words), bar, element("span", "time"));
      bars.set(stage, row);
      find("stages").append(row);
    }
    const row = bars.get(stage);
    row.classList.toggle("slowest", stages[stage] === longest);
    row.querySelector(".bar span").style.width = `${100 * stages[stage] / longest}%`;
    row.querySelector(".time").textContent = stages[stage].toFixed(1);
  }
}

let noticeTimer = 0;
function showNotice(text) {
  setText("notice", text);
  find("notice").hidden = false;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => { find("notice").hidden = true; }, 6000);
}

// A card for each kind of part: classes, joints.
function makeSwitches(parts) {
  switches.clear();
  const kinds = [...new Set(parts.map(part => part.kind))];
  find("parts").replaceChildren(...kinds.map(kind => makeCard(kind, parts.filter(part => part.kind === kind))));
}

function makeCard(kind, parts) {
  const card = element("section", "card");
  card.dataset.kind = kind;
  const heading = element("h2", "", kind[0].toUpperCase() + kind.slice(1));
  heading.id = `kind-${kind}`;
  card.setAttribute("aria-labelledby", heading.id);
  const others = () => settings.classes.filter(id => !parts.some(part => part.id === id));
  const both = element("span", "both");
  both.append(
    makeButton("all", "All", () => draw([...others(), ...parts.map(part => part.id)])),
    makeButton("none", "None", () => draw(others())),
  );
  const row = element("div", "row");
  row.append(heading, both);
  const list = element("ul", "classes");
  list.append(...parts.map(makeSwitch));
  card.append(row, list);
  return card;
}

function makeButton(className, text, act) {
  const button = element("button", className, text);
  button.type = "button";
  button.addEventListener("click", act);
  return button;
}

function makeSwitch(part) {
  const button = makeButton("", undefined, () => {
    const drawn = new Set(settings.classes);
    if (!drawn.delete(part.id)) drawn.add(part.id);
    draw([...drawn]);
  });
  button.dataset.id = part.id;
  const swatch = element("span", "swatch");
  swatch.style.background = `rgb(${part.colour.join(" ")})`;
  button.append(swatch, element("span", "name", part.name), element("span", "share"));
  button.setAttribute("aria-pressed", "true");
  switches.set(part.id, button);
  const item = element("li");
  item.append(button);
  return item;
}

function draw(ids) {
  settings.classes = ids; // so that a second click before the answer counts as well
  change({classes: ids});
}

// The picture.

async function show(data) {
  try {
    const picture = await createImageBitmap(new Blob([data], {type: "image/jpeg"}));
    if (canvas.width !== picture.width || canvas.height !== picture.height) {
      canvas.width = picture.width;
      canvas.height = picture.height;
    }
    brush.drawImage(picture, 0, 0);
    picture.close();
    if (!screen_.classList.contains("has-picture")) {
      screen_.classList.add("has-picture");
      if (!ended) setMessage("");
    }
    canvas.dataset.shown = Number(canvas.dataset.shown ?? 0) + 1;
    shownTimes.push(performance.now());
  } catch (error) {
    console.error(error);
  }
  // A page in the background is sent nothing new.
  if (document.hidden) owed += 1;
  else send({kind: "shown"});
}

document.addEventListener("visibilitychange", () => {
  for (; !document.hidden && owed > 0; owed -= 1) send({kind: "shown"});
});

setInterval(() => {
  const now = performance.now();
  shownTimes = shownTimes.filter(time => now - time < 2000);
  setText("shown", (shownTimes.length / 2).toFixed(1));
}, 500);

// The switches.

find("opacity").addEventListener("input", () => {
  const percent = Number(find("opacity").value);
  setText("opacity-value", `${percent} %`);
  slidUntil = performance.now() + 500;
  clearTimeout(sendTimer);
  const sendNow = () => {
    lastSent = performance.now();
    change({opacity: Number(find("opacity").value) / 100});
  };
  sendTimer = setTimeout(sendNow, Math.max(0, lastSent + 100 - performance.now()));
});
for (const radio of document.querySelectorAll("input[name=policy]")) {
  radio.addEventListener("change", () => change({policy: radio.value}));
}

find("snapshot").addEventListener("click", async () => {
  saving = true;
  find("snapshot").disabled = true;
  try {
    const answer = await fetch("/snapshot.png");
    if (!answer.ok) throw new Error((await answer.text()).trim());
    const name = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition"))[1];
    const link = element("a");
    link.download = name;
    link.href = URL.createObjectURL(await answer.blob());
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    showNotice(`Saved ${name}`);
  } catch (error) {
    showNotice(error instanceof TypeError ? "The page's server does not answer." : error.message);
  } finally {
    saving = false; // the next status enables the button
  }
});

// The connection.

function connect() {
  owed = 0;
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`);
  socket.binaryType = "arraybuffer";
  socket.addEventListener("open", () => {
    retry = 500;
    ended = false;
  });
  // One after the other, so that pictures keep their order.
  let before = Promise.resolve();
  socket.addEventListener("message", event => {
    if (typeof event.data !== "string") {
      before = before.then(() => show(event.data));
      return;
    }
    const letter = JSON.parse(event.data);
    if (Object.hasOwn(hear, letter.kind)) hear[letter.kind](letter);
  });
  socket.addEventListener("close", () => {
    enable(false);
    if (!ended) {
      setState("lost", "No connection");
      setMessage("No connection. Trying again.");
    }
    setTimeout(reconnect, retry);
    retry = Math.min(retry * 2, LONGEST_RETRY);
  });
}

async function reconnect() {
  try {
    // A WebSocket does not tell why it was refused.
    const answer = await fetch("/", {method: "HEAD"});
    if (answer.status === 401) location.reload();
  } catch {
    // Nobody is there yet.
  }
  connect();
}

connect();
