"use strict";
// Shows /openapi.json. Text from it only ever becomes text nodes, never markup.

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Words between backticks are code.
function prose(text) {
  return text.split("`").map((part, at) => (at % 2 ? make("code", "", part) : part));
}

function resolve(api, schema) {
  return schema && schema.$ref ? { ...api.components.schemas[schema.$ref.split("/").pop()], ...schema } : schema || {};
}

function kindOf(api, schema) {
  const found = resolve(api, schema);
  const choices = found.anyOf || found.oneOf;
  if (choices) return choices.map((choice) => kindOf(api, choice)).join(" or ");
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (found.type === "array") return found.items ? `list of ${kindOf(api, found.items)}` : "list";
  if (found.enum) return found.enum.join(" or ");
  if (found.contentEncoding) return found.contentEncoding;
  return found.type || "any JSON";
}

function limitsOf(found) {
  const limits = [];
  const item = found.type === "array" ? found.items || {} : found;
  if (found.minimum !== undefined || found.maximum !== undefined) limits.push(`${found.minimum ?? ""}…${found.maximum ?? ""}`);
  if (item.maxLength) limits.push(`${item.minLength ?? 0}…${item.maxLength} characters`);
  if (found.maxItems) limits.push(`at most ${found.maxItems}`);
  return limits.length ? `, ${limits.join(", ")}` : "";
}

// The schemas inside: of the field itself, of a list's items, or of each choice.
function within(api, schema) {
  const found = resolve(api, schema);
  if (found.properties) return [found];
  if (found.items) return within(api, found.items);
  return (found.anyOf || found.oneOf || []).flatMap((choice) => within(api, choice));
}

function fieldsOf(api, schema, seen, marksRequired) {
  const list = make("ul", "fields");
  for (const [name, field] of Object.entries(schema.properties || {})) {
    const found = resolve(api, field);
    const row = make("li", "", make("code", "", name), make("span", "kind", kindOf(api, field) + limitsOf(found)));
    if (marksRequired && (schema.required || []).includes(name)) row.append(make("span", "must", "required"));
    if (found.description) row.append(make("span", "about", ...prose(found.description)));
    for (const inner of within(api, field)) {
      if (!seen.includes(inner.title)) row.append(fieldsOf(api, inner, [...seen, inner.title], marksRequired));
    }
    list.append(row);
  }
  return list;
}

function showSchema(api, schema, marksRequired) {
  const found = within(api, schema);
  if (!found.length) return make("p", "about", kindOf(api, schema));
  return make("div", "", ...found.map((inner) => fieldsOf(api, inner, [inner.title], marksRequired)));
}

function pretty(text) {
  try {
    JSON.parse(text);
  } catch {
    return text;
  }
  // Only spaced out, not parsed and written anew: that would round numbers.
  let depth = 0, quoted = false, out = "";
  const line = () => "\n" + "  ".repeat(depth);
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (quoted) {
      out += char;
      if (char === "\\") out += text[++at];
      else if (char === '"') quoted = false;
    } else if (char === '"') { quoted = true; out += char; }
    else if ("{[".includes(char)) {
      if ("}]".includes(text[at + 1])) { out += char + text[++at]; }
      else { depth++; out += char + line(); }
    } else if ("}]".includes(char)) { depth--; out += line() + char; }
    else if (char === ",") out += char + line();
    else if (char === ":") out += ": ";
    else if (!/\s/.test(char)) out += char;
  }
  return out;
}

function tryIt(path, method, operation) {
  const form = make("form", "try", make("h3", "", "Try it"));
  const inputs = (operation.parameters || []).map((parameter) => {
    const input = make("input");
    input.placeholder = parameter.example || "";
    input.required = parameter.required;
    input.setAttribute("aria-label", parameter.name);
    form.append(make("label", "", `${parameter.name} `, input));
    return { parameter, input };
  });
  const content = operation.requestBody && operation.requestBody.content["application/json"];
  const body = content ? make("textarea") : null;
  if (body) {
    body.value = JSON.stringify(content.example || {}, null, 2);
    body.spellcheck = false;
    body.rows = Math.min(24, body.value.split("\n").length + 1);
    form.append(make("label", "", "Body ", body));
  }
  const button = make("button", "", "Send");
  const status = make("span", "status");
  status.setAttribute("role", "status");
  const output = make("pre");
  output.hidden = true;
  form.append(button, status, output);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    status.textContent = "…";
    status.className = "status";
    try {
      const query = new URLSearchParams();
      const headers = {};
      let url = path;
      for (const { parameter, input } of inputs) {
        if (parameter.in === "path") url = url.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
        else if (input.value && parameter.in === "header") headers[parameter.name] = input.value;
        else if (input.value) query.set(parameter.name, input.value);
      }
      const key = document.getElementById("key").value;
      if (key) headers.Authorization = `Bearer ${key}`;
      if (body) headers["Content-Type"] = "application/json";
      const begun = performance.now();
      const reply = await fetch(query.size ? `${url}?${query}` : url, {
        method: method.toUpperCase(), headers, body: body ? body.value : undefined, credentials: "omit",
      });
      const text = await reply.text();
      status.textContent = `${reply.status} · ${Math.round(performance.now() - begun)} ms`;
      status.classList.add(reply.ok ? "good" : "bad");
      output.textContent = pretty(text);
      output.hidden = !text;
    } catch (error) {
      status.textContent = String(error);
      status.classList.add("bad");
      output.hidden = true;
    }
    button.disabled = false;
  });
  return form;
}

function showOperation(api, path, method, operation) {
  const details = make("details", "operation",
    make("summary", "",
      make("span", `method ${method}`, method.toUpperCase()), make("span", "path", path),
      make("span", "brief", operation.summary)));
  details.id = operation.operationId;
  details.addEventListener("toggle", () => {
    if (!details.open || details.children.length > 1) return;
    const inside = make("div", "inside");
    if (operation.description) inside.append(make("p", "about", operation.description));
    if (operation.parameters) {
      inside.append(make("h3", "", "Parameters"));
      inside.append(make("ul", "fields", ...operation.parameters.map((parameter) => make("li", "",
        make("code", "", parameter.name), make("span", "kind", parameter.in),
        parameter.required ? make("span", "must", "required") : null,
        make("span", "about", parameter.description)))));
    }
    const json = operation.requestBody && operation.requestBody.content["application/json"];
    if (json) inside.append(make("h3", "", "Body"), showSchema(api, json.schema, true));
    const done = operation.responses["200"];
    const answer = done && done.content && done.content["application/json"];
    if (answer) inside.append(make("h3", "", "Answer"), showSchema(api, answer.schema, false));
    inside.append(make("h3", "", "Statuses"), make("dl", "answers",
      ...Object.entries(operation.responses).flatMap(([status, response]) => [
        make("dt", "", status), make("dd", "", response.description)])));
    inside.append(tryIt(path, method, operation));
    details.append(inside);
  });
  return details;
}

function show(api) {
  document.getElementById("version").textContent = api.info.version;
  document.getElementById("lead").textContent = api.info.description;
  const main = document.getElementById("main");
  const contents = document.getElementById("contents");
  for (const tag of api.tags) {
    main.append(make("h2", "", tag.name), make("p", "", ...prose(tag.description)));
    contents.append(make("h2", "", tag.name));
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        if (!operation.tags.includes(tag.name)) continue;
        main.append(showOperation(api, path, method, operation));
        if (contents.lastChild.textContent === path) continue;
        const link = make("a", "", path);
        link.href = `#${operation.operationId}`;
        contents.append(link);
      }
    }
  }
  const open = () => {
    const wanted = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (wanted && wanted.tagName === "DETAILS") { wanted.open = true; wanted.scrollIntoView(); }
  };
  window.addEventListener("hashchange", open);
  open();
}

fetch("/openapi.json", { credentials: "omit" })
  .then((reply) => reply.json())
  .then(show)
  .catch((error) => { document.getElementById("lead").textContent = `The description could not be loaded: ${error}`; });
