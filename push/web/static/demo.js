"use strict";
// A client of push in plain JavaScript, over WebSocket with JSON text: docs/protocol.md and docs/chat.md.

const byId = (id) => document.getElementById(id);
const MAX_LINES = 200, MAX_HOPS = 5, SEEN_IDS = 500;

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

// The client: one session at a time, that comes back by itself.

class PushClient {
  constructor(on) {
    this.on = on;  // {status(kind, text), open(content), push(id, content), pong(ms, interval), notice(subSignal, content), log(text)}
    this.socket = null;
    this.seen = [];
    this.close();
  }

  connect(url, request, intervalS) {
    this.close();
    Object.assign(this, {home: url, url, request, intervalS, wanted: true, failures: 0, hops: 0});
    this.dial();
  }

  close() {
    this.wanted = false;
    clearTimeout(this.timer);
    clearInterval(this.beats);
    this.waiting = new Map();
    this.nextId = 1;
    if (this.socket) {
      const socket = this.socket;
      this.socket = null;
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({signal: "DISCONNECT"}));
      socket.close(1000);
    }
  }

  dial() {
    this.on.status("trying", `connecting to ${this.url}`);
    let socket;
    try {
      socket = this.socket = new WebSocket(this.url, ["push.json"]);
    } catch (error) {
      this.wanted = false;
      this.on.status("bad", error.message);
      return;
    }
    this.said = null;
    socket.onopen = () => this.send("SUB", {...this.request, ack: true, interval: 1000 * this.intervalS});
    socket.onmessage = ({data}) => { if (socket === this.socket) this.receive(JSON.parse(data)); };
    socket.onclose = (event) => { if (socket === this.socket) this.lost(event); };
  }

  send(signal, content, more = {}) {
    if (this.socket && this.socket.readyState === WebSocket.OPEN) {
      this.socket.send(JSON.stringify({signal, messageId: this.nextId, content, ...more}));
      this.nextId = this.nextId % 65535 + 1;
    }
  }

  // A request of the chat form: resolves with the answer, or rejects with its reason.
  ask(subSignal, content) {
    return new Promise((resolve, reject) => {
      this.waiting.set(this.nextId, {resolve, reject});
      this.send("PUBLISH", content, {subSignal});
    });
  }

  receive(frame) {
    const {signal, content} = frame;
    if (signal === "SUB") this.answered(content);
    else if (signal === "PUSH") this.pushed(frame);
    else if (signal === "PING") this.on.pong(Math.round(performance.now() - this.pinged), content.interval);
    else if (signal === "PUBLISH") this.on.notice(frame.subSignal, content);
    else if (signal === "PUB_ACK") this.settled(frame);
    else if (signal === "DISCONNECT") this.said = content;
  }

  answered(content) {
    if (content.status === 200) {
      this.failures = this.hops = 0;
      this.request.token = content.token;
      this.on.open(content, this.url);
      clearInterval(this.beats);
      this.beats = setInterval(() => this.beat(), content.interval);
      this.beat();
    } else if (content.status === 302) {
      this.redirected(content);
    } else if (content.status === 429 || content.status === 503) {
      this.said = {reason: content.reason, retry: "backoff", retry_after: content.retry_after};
      this.socket.close();
    } else {
      this.said = {reason: content.reason, retry: "no"};
      this.socket.close();
    }
  }

  redirected({host, port}) {
    const there = new URL(this.url);
    there.hostname = host.includes(":") ? `[${host}]` : host;
    there.port = port;
    this.on.log(`redirected to ${there.host}`);
    this.hops += 1;
    clearInterval(this.beats);
    const socket = this.socket;
    this.socket = null;
    socket.close(1000);
    this.url = this.hops > MAX_HOPS ? this.home : there.href;
    this.timer = setTimeout(() => this.dial(), this.hops > MAX_HOPS ? 5000 : 0);
  }

  pushed({id, content}) {
    if (id !== undefined) {
      this.send("PUB_ACK", null, {subSignal: "MN", id, messageId: 0});
      if (this.seen.includes(id)) return;  // it came before, on a connection that was lost
      this.seen.push(id);
      this.seen.splice(0, this.seen.length - SEEN_IDS);
    }
    this.on.push(id, content);
  }

  settled(frame) {
    const asked = this.waiting.get(frame.messageId);
    if (!asked) return;
    this.waiting.delete(frame.messageId);
    if (frame.status) asked.reject(Object.assign(new Error(frame.content.reason || "refused"), frame.content));
    else asked.resolve(frame.content);
  }

  beat() {
    this.pinged = performance.now();
    this.send("PING", {interval: 1000 * this.intervalS});
  }

  // Full jitter: anything between nothing and a bound that doubles, and not before the server wants us.
  lost(event) {
    clearInterval(this.beats);
    for (const asked of this.waiting.values()) asked.reject(new Error("the connection was lost"));
    this.waiting.clear();
    const said = this.said || {};
    const reason = said.reason || event.reason || (event.code === 1006 ? "no connection" : `closed with code ${event.code}`);
    if (!this.wanted || said.retry === "no" || event.code >= 3500 && event.code < 4000) {
      this.wanted = false;
      this.on.status("bad", `ended: ${reason}`);
      return;
    }
    this.failures += 1;
    const waitS = (said.retry_after || 0) + Math.random() * Math.min(30, 0.5 * 2 ** this.failures);
    this.on.status("trying", `${reason}; trying again in ${waitS.toFixed(1)} s`);
    this.url = this.home;
    this.timer = setTimeout(() => this.dial(), 1000 * waitS);
  }
}

// The page

const known = new Set();  // who has said something: when one is new, there may be a new member
let group = "", lastSeq = 0, received = 0, shownState = "";

function line(list, ...content) {
  const item = make("li", {}, make("time", {}, new Date().toLocaleTimeString()), ...content);
  byId(list).prepend(item);
  while (byId(list).children.length > MAX_LINES) byId(list).lastChild.remove();
}

function status(kind, text) {
  byId("state").dataset.is = kind;
  byId("state").textContent = kind === "open" ? "connected" : text;
  if (text !== shownState) line("log", text);
  shownState = text;
  const isOpen = kind === "open";
  for (const id of ["join", "push"]) byId(id).disabled = !isOpen;
  byId("say").disabled = !(isOpen && group);
  byId("disconnect").disabled = !client.wanted;
  if (!isOpen) byId("heartbeat").textContent = "–";
}

const client = new PushClient({
  status,
  open(content, url) {
    sessionStorage.setItem("push-demo-token", content.token);
    byId("token").textContent = content.token;
    byId("place").textContent = url;
    status("open", `open at ${url}`);
    if (group) catchUp();
  },
  push(id, content) {
    received += 1;
    byId("count").textContent = received;
    line("pushes", typeof content === "string" ? content : JSON.stringify(content));
  },
  pong(ms, interval) { byId("heartbeat").textContent = `every ${interval / 1000} s, answered in ${ms} ms`; },
  notice(subSignal, content) {
    if (content.group !== group) line("log", `notice ${subSignal} of ${content.group || content.conversation}`);
    else if (content.seq && content.seq > lastSeq + 1) catchUp();
    else if (content.seq) { said(content); if (!known.has(content.from)) members(); known.add(content.from); }
    else if (subSignal === "GAM" || subSignal === "GKM" || subSignal === "GMI") members();
  },
  log(text) { line("log", text); },
});

function said(message) {
  if (message.seq <= lastSeq) return;
  lastSeq = message.seq;
  const mine = message.from === byId("uid").value.trim();
  const who = make("small", {}, `${mine ? "you" : message.from || "the system"}, ${new Date(message.time).toLocaleTimeString()}`);
  const item = make("li", {class: mine ? "mine" : ""}, who, message.recalled ? "(taken back)" : message.text || JSON.stringify(message.data || {}));
  byId("talk").append(item);
  byId("talk").scrollTop = byId("talk").scrollHeight;
}

function note(text) {
  byId("talk").append(make("li", {class: "note"}, text));
  byId("talk").scrollTop = byId("talk").scrollHeight;
}

async function catchUp() {
  try {
    const answer = await client.ask("MP", {group, after: lastSeq, limit: 50});
    answer.messages.forEach(said);
    if (answer.more) await catchUp();
  } catch (error) {
    note(error.message);
  }
}

async function members() {
  try {
    const found = await client.ask("GPGI", {group});
    byId("members").textContent = `${found.members} ${found.members === 1 ? "member" : "members"}`;
  } catch (error) {
    byId("members").textContent = "";
  }
}

// The first who comes makes the group; the others join it.
async function join() {
  const name = byId("group").value.trim();
  try {
    try {
      await client.ask("GC", {group: name, title: name});
    } catch (error) {
      if (error.status !== 409) throw error;
      await client.ask("GAM", {group: name}).catch((second) => { if (second.status !== 409) throw second; });
    }
    if (name !== group) { byId("talk").replaceChildren(); lastSeq = 0; }
    group = name;
    byId("say").disabled = false;
    note(`you are in ${name}`);
    await members();
    await catchUp();
    byId("text").focus();
  } catch (error) {
    note(error.message);
  }
}

async function say() {
  const text = byId("text").value.trim();
  if (!text) return;
  byId("text").value = "";
  try {
    const answer = await client.ask("MS", {group, text, client_id: crypto.randomUUID ? crypto.randomUUID().slice(0, 36) : String(Math.random())});
    if (answer.seq > lastSeq + 1) await catchUp();
    else said({...answer, from: byId("uid").value.trim(), text});
  } catch (error) {
    byId("text").value = text;
    note(error.message);
  }
}

async function pushToSelf() {
  const body = JSON.stringify({target: {token: client.request.token}, message: {data: byId("push-text").value}});
  const response = await fetch("/v1/messages:send", {method: "POST", headers: {"Content-Type": "application/json"}, body});
  const answer = await response.json().catch(() => ({}));
  byId("push-result").textContent = response.ok ? `message ${answer.id}, sent to ${answer.sent}`
    : `This API wants a key, which a page must not have. Push from your back end. (${response.status})`;
}

function onSubmit(id, act) { byId(id).addEventListener("submit", (event) => { event.preventDefault(); act(); }); }

onSubmit("connect-form", () => {
  const uid = byId("uid").value.trim(), auth = byId("auth").value.trim(), token = sessionStorage.getItem("push-demo-token");
  const same = uid === sessionStorage.getItem("push-demo-uid");
  sessionStorage.setItem("push-demo-uid", uid);
  const request = {device: {platform: "demo"}, ...(uid && {uid}), ...(auth && {auth}), ...(same && token && {token})};
  client.connect(byId("url").value.trim(), request, Number(byId("interval").value) || 30);
  byId("disconnect").disabled = false;
});
onSubmit("join-form", join);
onSubmit("say-form", say);
onSubmit("push-form", pushToSelf);
byId("disconnect").addEventListener("click", () => { client.close(); status("", "not connected"); });
const place = new URL("/ws", location.href);
place.protocol = location.protocol === "https:" ? "wss:" : "ws:";
byId("url").value = place.href;
byId("uid").value = sessionStorage.getItem("push-demo-uid") || `guest-${Math.floor(Math.random() * 10000)}`;
