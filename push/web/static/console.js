"use strict";
// The console: asks the API with the key of who looks, and is told the numbers every second by a push to a token of its own.

const KEPT_S = 180;
const WATCH_EVERY_MS = 15000;
const POLL_EVERY_MS = 2000;
const byId = (id) => document.getElementById(id);
const history = [];
let socket = null;
let polling = null;
let watching = null;
// Node → its last two measurements, as each of them is told at its own time; "" is the node that serves this page.
const measured = new Map();

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") element.addEventListener("click", value);
    else element.setAttribute(key, value);
  }
  element.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

// The API

async function ask(method, path, body) {
  const key = byId("key").value.trim();
  const headers = key ? {Authorization: `Bearer ${key}`} : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(path, {method, headers, body: body === undefined ? undefined : JSON.stringify(body)});
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    const error = new Error(answer.error ? answer.error.message : `The server answered ${response.status}.`);
    error.status = response.status;
    throw error;
  }
  return answer;
}

function show(id, ...nodes) { byId(id).replaceChildren(...nodes); }
function complain(id, error) { show(id, make("p", {class: "error"}, error.message)); }
function state(kind, text) { byId("state").dataset.is = kind; byId("state").textContent = text; }

// Live: a session over WebSocket, to whose token the numbers are pushed. Where that cannot be, they are asked for.

function goLive(node) {
  stopLive();
  const place = new URL("/ws", location.href);
  place.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  if (node) {  // this server holds no clients, and has said who does
    place.hostname = node.host.includes(":") ? `[${node.host}]` : node.host;
    place.port = node.port;
  }
  const mine = socket = new WebSocket(place);
  socket.onopen = () => mine.send(JSON.stringify({signal: "SUB", messageId: 1, content: session()}));
  socket.onmessage = ({data}) => {
    if (mine !== socket) return;
    const frame = JSON.parse(data);
    if (frame.signal === "SUB" && frame.content.status === 200) {
      localStorage.setItem("push-console-token", frame.content.token);
      watch(frame.content.token);
      watching = setInterval(() => { watch(frame.content.token); mine.send('{"signal":"PING"}'); }, WATCH_EVERY_MS);
    } else if (frame.signal === "SUB" && frame.content.status === 302) {
      setTimeout(() => mine === socket && goLive(frame.content.nodes[0]), 1000 * (frame.content.retry_after || 0));
    } else if (frame.signal === "SUB") {
      poll();
    } else if (frame.signal === "PUSH" && frame.content.console) {
      state("open", "live");
      take(frame.content.console);
    }
  };
  socket.onclose = () => { if (mine === socket) { clearInterval(watching); poll(); setTimeout(() => mine === socket && goLive(), 10000); } };
}

function session() {
  const token = localStorage.getItem("push-console-token");
  return {interval: 60000, device: {platform: "console"}, ...(token && {token})};
}

async function watch(token) {
  try {
    await ask("POST", "/v1/stats:watch", {token});
    clearInterval(polling);
    polling = null;
  } catch (error) {
    refused(error);
  }
}

function refused(error) {
  if (error.status === 401 || error.status === 403) {
    stopLive();
    state("bad", byId("key").value ? error.message : "an API key is needed");
    byId("key").focus();
  } else {
    poll();
  }
}

function stopLive() {
  clearInterval(watching);
  clearInterval(polling);
  polling = null;
  if (socket) { socket.onclose = null; socket.close(); socket = null; }
}

function poll() {
  if (polling) return;
  const once = async () => {
    try {
      const [stats, nodes] = await Promise.all([ask("GET", "/v1/stats?scope=cluster"), ask("GET", "/v1/nodes")]);
      state("trying", "asking every 2 s");
      take({time: Date.now(), samples: stats.samples, ...nodes});
    } catch (error) {
      if (error.status) refused(error); else state("bad", "the server does not answer");
    }
  };
  polling = setInterval(once, POLL_EVERY_MS);
  once();
}

// Numbers

function sum(samples, name, labels = {}) {
  return samples.filter((sample) => sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value))
    .reduce((total, sample) => total + sample.value, 0);
}

function histogram(samples, name, labels = {}) {
  let bounds = [], counts = [];
  for (const sample of samples) {
    if (sample.name !== name || !Object.entries(labels).every(([key, value]) => sample.labels[key] === value)) continue;
    bounds = sample.value.bounds_s;
    counts = sample.value.counts.map((count, index) => count + (counts[index] || 0));
  }
  return {bounds, counts};
}

// The least bound below which a share of what came since the last time lies, in ms; null where nothing came.
function quantile(now, earlier, share) {
  const counts = now.counts.map((count, index) => Math.max(0, count - (earlier.counts[index] || 0)));
  const total = counts.reduce((all, count) => all + count, 0);
  if (!total) return null;
  let seen = 0;
  for (const [index, count] of counts.entries()) {
    seen += count;
    if (seen >= share * total) return 1000 * (now.bounds[index] ?? now.bounds[now.bounds.length - 1]);
  }
  return null;
}

// What each node has measured, and what came of it in a second of its last interval.
function measure(told) {
  const found = new Map();
  for (const sample of told.samples) {
    const node = sample.labels.node || "";
    if (!found.has(node)) found.set(node, []);
    found.get(node).push(sample);
  }
  for (const node of measured.keys()) if (!found.has(node)) measured.delete(node);
  for (const [node, samples] of found) {
    const now = {
      time: sum(samples, "push_taken_ms") || told.time,
      sent: counted(samples, "push_messages_total", {outcome: "sent"}),
      acknowledged: counted(samples, "push_acknowledged_total"),
      sending: histogram(samples, "push_api_request_seconds", {route: "/v1/messages:send"}),
    };
    const last = measured.get(node);
    if (!last || now.sent < last.now.sent || now.acknowledged < last.now.acknowledged) measured.set(node, {now, before: null});
    else if (now.time - last.now.time > 200) measured.set(node, {now, before: last.now});
  }
}

// Null where a node does not do what is counted.
function counted(samples, name, labels) {
  return samples.some((sample) => sample.name === name) ? sum(samples, name, labels) : null;
}

function rate(node, field) {
  const known = measured.get(node);
  if (!known || !known.before || known.now[field] === null) return null;
  return (known.now[field] - known.before[field]) / ((known.now.time - known.before.time) / 1000);
}

function total(field) {
  const rates = [...measured.keys()].map((node) => rate(node, field)).filter((value) => value !== null);
  return rates.length ? rates.reduce((all, value) => all + value, 0) : null;
}

// How long requests took in the last interval of each node, all nodes together.
function latency(share) {
  let bounds = [], counts = [], earlier = [];
  for (const {now, before} of measured.values()) {
    if (!before || !now.sending.counts.length) continue;
    bounds = now.sending.bounds;
    counts = now.sending.counts.map((count, index) => count + (counts[index] || 0));
    earlier = now.sending.counts.map((_, index) => (before.sending.counts[index] || 0) + (earlier[index] || 0));
  }
  return quantile({bounds, counts}, {counts: earlier}, share);
}

function take(told) {
  const samples = told.samples;
  const sessions = told.nodes.reduce((all, node) => all + node.sessions, 0);
  measure(told);
  const sent = total("sent") ?? 0;
  if ([...measured.values()].some(({before}) => before)) {
    history.push({time: told.time, sessions, sent, acknowledged: total("acknowledged") ?? 0, half: latency(0.5), most: latency(0.99)});
    while (history.length && history[0].time < told.time - 1000 * KEPT_S) history.shift();
  }
  // Every node that knows the tokens counts all of them.
  const tokens = samples.filter((sample) => sample.name === "push_tokens").map((sample) => sample.value);
  tiles([
    ["sessions", sessions], ["connections", told.nodes.reduce((all, node) => all + node.connections, 0)],
    ["tokens", tokens.length ? Math.max(...tokens) : null], ["messages a second", sent], ["waiting in the cache", sum(samples, "push_cache_messages")],
    ["bytes clients do not read", sum(samples, "push_outbox_bytes")],
  ]);
  chart("sessions-chart", [["a", "sessions"]]);
  chart("rates-chart", [["a", "sent"], ["b", "acknowledged"]]);
  chart("latency-chart", [["a", "half"], ["b", "most"]]);
  nodes(told);
}

function number(value) {
  if (value === null || value === undefined) return "–";
  return value.toLocaleString("en", {maximumFractionDigits: value < 10 ? 1 : 0});
}

function tiles(entries) {
  show("tiles", ...entries.map(([name, value]) => make("div", {class: "tile"}, make("b", {}, number(value)), make("span", {}, name))));
}

// Charts

const SVG = "http://www.w3.org/2000/svg";

function draw(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function chart(id, lines) {
  const svg = byId(id), width = svg.clientWidth || 400, height = svg.clientHeight || 144;
  const left = 44, top = 8, bottom = height - 20, right = width - 6;
  const end = history.length ? history[history.length - 1].time : Date.now();
  const span = Math.min(KEPT_S, Math.max(30, history.length ? (end - history[0].time) / 1000 : KEPT_S)), begin = end - 1000 * span;
  const values = lines.flatMap(([, field]) => history.map((point) => point[field])).filter((value) => value !== null);
  const most = nice(Math.max(2, ...values));
  const x = (time) => left + (right - left) * (time - begin) / (end - begin);
  const y = (value) => bottom - (bottom - top) * value / most;
  const parts = [];
  for (const share of most === 5 ? [0, 0.4, 0.8] : [0, 0.5, 1]) {
    parts.push(draw("line", {class: "grid", x1: left, x2: right, y1: y(most * share), y2: y(most * share)}));
    parts.push(draw("text", {x: left - 6, y: y(most * share) + 4, "text-anchor": "end"}, number(most * share)));
  }
  for (const share of [1, 2 / 3, 1 / 3, 0]) {
    const ago = span * share;
    parts.push(draw("text", {x: x(end - 1000 * ago), y: height - 4, "text-anchor": share === 1 ? "start" : share ? "middle" : "end"}, agoText(ago)));
  }
  for (const [kind, field] of lines) {
    const points = history.filter((point) => point[field] !== null).map((point) => `${x(point.time).toFixed(1)},${y(point[field]).toFixed(1)}`);
    parts.push(draw("polyline", {class: kind, points: points.join(" ")}));
  }
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren(...parts);
}

function agoText(seconds) {
  if (!seconds) return "now";
  return seconds < 90 ? `−${Math.round(seconds)} s` : `−${number(seconds / 60)} min`;
}

function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((step) => value <= step * power);
}

// Nodes

let asked = "";

function nodes(told) {
  if (document.activeElement && byId("nodes").contains(document.activeElement) && asked) return;  // a question stands there
  const head = make("tr", {}, ...["node", "sessions", "connections", "room for", "sent/s", "acknowledged/s", "up since", "", ""].map((text, index) =>
    make("th", {class: index > 0 && index < 6 ? "number" : ""}, text)));
  const listed = new Set(told.nodes.map((node) => node.name));
  // The node that serves this page may be a connector as well: that which has not told its numbers under its name.
  const untold = told.nodes.filter((node) => !measured.has(node.name));
  const own = untold.length === 1 ? untold[0].name : null;
  const rates = (name) => ["sent", "acknowledged"].map((field) => make("td", {class: "number"}, number(rate(name === own ? "" : name, field))));
  const rows = told.nodes.map((node) => make("tr", {},
    make("td", {class: "mono"}, node.name), make("td", {class: "number"}, number(node.sessions)),
    make("td", {class: "number"}, number(node.connections)), make("td", {class: "number"}, number(node.max_connections)), ...rates(node.name),
    make("td", {}, new Date(node.started).toLocaleString()),
    make("td", {}, make("span", {class: node.draining ? "tag warn" : "tag good"}, node.draining ? "draining" : "takes sessions")),
    make("td", {}, drainButton(node))));
  const others = [...measured.keys()].filter((name) => !listed.has(name) && !(own && name === "")).sort().map((name) => make("tr", {},
    make("td", {class: "mono"}, name || "this node"), make("td", {colspan: "3"}), ...rates(name), make("td", {}),
    make("td", {colspan: "2"}, make("span", {class: "tag"}, "holds no clients"))));
  const lost = (told.unreachable || []).map((name) => make("tr", {},
    make("td", {class: "mono"}, name), make("td", {colspan: "8"}, make("span", {class: "tag bad"}, "does not answer"))));
  const partial = told.is_partial ? [make("tr", {}, make("td", {colspan: "9"}, "There are more nodes than can be shown: these numbers are of the first ones."))] : [];
  show("nodes", head, ...rows, ...others, ...lost, ...partial);
}

function drainButton(node) {
  if (node.draining) return make("button", {class: "plain", onclick: () => drain(node, "undrain")}, "Take sessions again");
  if (asked === node.name) return make("button", {class: "danger", onclick: () => drain(node, "drain")}, "Really empty it");
  return make("button", {class: "plain", onclick: (event) => {
    asked = node.name;
    event.target.replaceWith(drainButton(node));
    setTimeout(() => { asked = ""; }, 6000);
  }}, "Drain");
}

async function drain(node, what) {
  asked = "";
  try {
    await ask("POST", `/v1/nodes/${encodeURIComponent(node.name)}:${what}`, what === "drain" ? {} : undefined);
    show("nodes-result", make("p", {class: "soft"}, what === "drain" ? `${node.name} sends its sessions elsewhere.` : `${node.name} takes sessions again.`));
  } catch (error) {
    complain("nodes-result", error);
  }
}

// Searching and sending

function details(entries) {
  return make("dl", {}, ...entries.filter(([, value]) => value !== undefined && value !== "").flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

function tokenLink(token) { return make("a", {href: "#", class: "mono", onclick: (event) => { event.preventDefault(); search(token); }}, token); }
function when(time) { return time ? new Date(time).toLocaleString() : ""; }

async function search(what) {
  byId("who").value = what;
  if (!what) return;
  try {
    show("who-result", await tokenCard(what));
  } catch (error) {
    if (error.status !== 404 && error.status !== 400) { complain("who-result", error); return; }
    try {
      const answer = await ask("GET", `/v1/users/${encodeURIComponent(what)}/tokens`);
      const tokens = answer.tokens;
      if (!tokens.length) throw new Error("Nobody here is called that: no token, and no uid.");
      show("who-result", make("p", {}, `uid ${what} has ${tokens.length} ${tokens.length === 1 ? "token" : "tokens"}:`),
        make("table", {}, ...tokens.map((each) => make("tr", {}, make("td", {}, tokenLink(each.token || each)),
          make("td", {}, make("span", {class: each.online ? "tag good" : "tag"}, each.online ? "online" : "away"))))));
    } catch (second) {
      complain("who-result", second.status === 404 ? new Error("Nobody here is called that: no token, and no uid.") : second);
    }
  }
}

async function tokenCard(token) {
  const found = await ask("GET", `/v1/tokens/${encodeURIComponent(token)}`);
  const device = found.device ? JSON.stringify(found.device) : "";
  return make("div", {},
    make("p", {}, make("span", {class: found.online ? "tag good" : "tag"}, found.online ? "online" : "away")),
    details([["token", make("span", {class: "mono"}, found.token)], ["uid", found.uid ? make("span", {}, found.uid) : ""], ["tags", (found.tags || []).join(", ")],
      ["device", device], ["connector", found.connector || ""], ["last seen", when(found.last_seen)], ["registered", when(found.created)]]),
    make("button", {class: "plain", onclick: () => { byId("send-kind").value = "token"; byId("send-to").value = found.token; byId("send-text").focus(); }}, "Send it a push"));
}

async function life(id) {
  byId("life").value = id;
  if (!id) return;
  try {
    const found = await ask("GET", `/v1/messages/${encodeURIComponent(id)}`);
    const counts = Object.entries(found.counts).filter(([, count]) => count).map(([name, count]) => `${name} ${count}`).join(", ");
    show("life-result",
      details([["accepted", when(found.accepted)], ["due", when(found.due)], ["kept until", when(found.expires)], ["targets", found.targets], ["what happened", counts || "nothing yet"]]),
      make("table", {}, ...found.tokens.map((each) => make("tr", {}, make("td", {}, tokenLink(each.token)),
        make("td", {}, make("span", {class: each.state === "delivered" ? "tag good" : each.state === "cached" || each.state === "sent" ? "tag" : "tag warn"}, each.state)),
        make("td", {}, when(each.at)), make("td", {}, make("button", {class: "plain", onclick: () => explain(id, each.token)}, "Why?"))))),
      make("div", {id: "why"}));
  } catch (error) {
    complain("life-result", error);
  }
}

async function explain(id, token) {
  try {
    const answer = await ask("GET", `/v1/messages/${id}:explain?token=${encodeURIComponent(token)}`);
    show("why", ...Object.values(answer).filter(Array.isArray).flat().map((sentence) => make("p", {}, sentence)));
  } catch (error) {
    complain("why", error);
  }
}

async function send() {
  const kind = byId("send-kind").value, to = byId("send-to").value.trim();
  const target = kind === "all" ? {all: true} : {[kind]: to};
  try {
    const answer = await ask("POST", "/v1/messages:send", {target, message: {data: byId("send-text").value}});
    show("send-result", make("p", {}, `${answer.targets} addressed, sent to ${answer.sent}, kept for ${answer.cached}`,
      answer.unknown && answer.unknown.length ? `; unknown: ${answer.unknown.join(", ")}` : ""),
    make("p", {}, make("a", {href: "#", class: "mono", id: "sent-id", onclick: (event) => { event.preventDefault(); life(answer.id); }}, answer.id)));
  } catch (error) {
    complain("send-result", error);
  }
}

function onSubmit(id, act) { byId(id).addEventListener("submit", (event) => { event.preventDefault(); act(); }); }

onSubmit("send-form", send);
onSubmit("who-form", () => search(byId("who").value.trim()));
onSubmit("life-form", () => life(byId("life").value.trim()));
onSubmit("key-form", () => { sessionStorage.setItem("push-console-key", byId("key").value); goLive(); });
byId("key").addEventListener("change", () => { sessionStorage.setItem("push-console-key", byId("key").value); goLive(); });
byId("key").value = sessionStorage.getItem("push-console-key") || "";
byId("send-kind").addEventListener("change", () => { byId("send-to").disabled = byId("send-kind").value === "all"; });
tiles([["sessions", null], ["connections", null], ["tokens", null], ["messages a second", null], ["waiting in the cache", null], ["bytes clients do not read", null]]);
goLive();
