// Draws /asyncapi.json: its channels, with the messages, fields and examples of each. Text goes in as text, never as HTML.

const KINDS = { string: "text", number: "number", integer: "whole number", boolean: "true or false", array: "list", object: "object" };

/** An element with attributes and children; a child that is text is text. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...children);
  return made;
}

/** Prose, in which `backquotes` mark code. */
function prose(text = "") {
  return text.split("`").map((part, number) => (number % 2 ? element("code", {}, part) : part));
}

function table(heads, rows) {
  const head = element("thead", {}, element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text))));
  const body = element("tbody", {}, ...rows.map((cells) => element("tr", {}, ...cells.map((cell) => element("td", {}, ...[cell].flat())))));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": heads.join(", ") }, element("table", {}, head, body));
}

/** What a `$ref` of the document points to. */
function resolved(whole, part) {
  if (!part.$ref) return part;
  return part.$ref.slice(2).split("/").reduce((found, key) => found[key], whole);
}

const lastOf = (reference) => reference.split("/").at(-1);

/** In words, what a value may be. */
function kindOf(schema) {
  if (schema.$ref) return lastOf(schema.$ref);
  if (schema.anyOf) return schema.anyOf.map(kindOf).join(" or ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(", ");
  if (schema.type === "array") return `list of ${kindOf(schema.items)}`;
  return KINDS[schema.type] ?? schema.type;
}

/** Bounds and pattern, as far as there are any. */
function boundsOf(schema) {
  const inner = schema.anyOf?.find((each) => each.type !== "null") ?? schema;
  const words = { minimum: "≥", exclusiveMinimum: ">", maximum: "≤", exclusiveMaximum: "<", maxItems: "at most", maxLength: "characters: at most" };
  const bounds = Object.entries(words).filter(([key]) => key in inner).map(([key, sign]) => `${sign} ${inner[key].toLocaleString("en").replaceAll(",", "\u202f")}`);
  const pattern = inner.pattern ?? inner.items?.pattern;
  return [bounds.length ? `(${bounds.join(", ")})` : "", pattern ? element("code", { class: "pattern" }, pattern) : ""];
}

function fields(schema) {
  const required = new Set(schema.required ?? []);
  const rows = Object.entries(schema.properties).map(([name, field]) => [
    [element("code", {}, name), required.has(name) ? "" : element("small", {}, "may be left out")],
    [kindOf(field), " ", ...boundsOf(field)],
    prose(field.description),
  ]);
  return table(["Field", "Value", "Meaning"], rows);
}

/** The objects within an object, each once. */
function within(whole, schema) {
  const references = Object.values(schema.properties ?? {}).map((field) => field.items?.$ref).filter(Boolean);
  return [...new Set(references)].map((reference) => ({ name: lastOf(reference), schema: resolved(whole, { $ref: reference }) }));
}

function drawPayload(whole, schema) {
  if (!schema.properties) return [element("p", {}, kindOf(schema), " ", ...boundsOf(schema))];
  const parts = within(whole, schema).flatMap(({ name, schema: part }) => [element("h4", {}, `Each ${name}`), element("p", {}, ...prose(part.description)), fields(part)]);
  return [fields(schema), ...parts];
}

function drawExample({ payload }) {
  return element("pre", { tabindex: "0" }, JSON.stringify(payload, null, 2));
}

/** Who sends a message: what tickstream receives comes from a client. */
function senderOf(whole, name) {
  const heard = Object.values(whole.operations).filter(({ action }) => action === "receive").flatMap(({ messages }) => messages);
  return heard.some(({ $ref }) => lastOf($ref) === name) ? "a client sends it" : "tickstream writes it";
}

function answersOf(whole, name) {
  const operation = whole.operations[name];
  if (!operation?.reply) return [];
  const links = operation.reply.messages.flatMap(({ $ref }) => [element("a", { href: `#${lastOf($ref)}` }, lastOf($ref)), " "]);
  return [element("p", {}, "Answered with: ", ...links)];
}

function drawMessage(whole, name) {
  const message = whole.components.messages[name];
  return element(
    "section",
    { class: "panel message", id: name },
    element("h3", {}, element("code", {}, message.title), " ", element("small", {}, senderOf(whole, name))),
    element("p", {}, ...prose(message.summary), " ", ...prose(message.description)),
    ...answersOf(whole, name),
    ...drawPayload(whole, resolved(whole, message.payload)),
    element("details", {}, element("summary", {}, message.examples.length === 1 ? "Example" : "Examples"), ...message.examples.map(drawExample)),
    element("p", {}, element("a", { href: message["x-schema"] }, "JSON Schema")),
  );
}

function parameters(channel) {
  const rows = Object.entries(channel.parameters ?? {}).map(([name, each]) => [element("code", {}, `{${name}}`), prose(each.description), (each.examples ?? []).join(", ")]);
  return rows.length ? [table(["In the key", "Meaning", "Such as"], rows)] : [];
}

function query(channel) {
  const known = Object.entries(channel.bindings?.ws?.query?.properties ?? {});
  const rows = known.map(([name, each]) => [element("code", {}, name), prose(each.description), (each.examples ?? []).join(", ")]);
  return rows.length ? [element("h3", {}, "Query of the URL"), table(["Parameter", "Meaning", "Such as"], rows)] : [];
}

function closeCodes(channel) {
  const rows = (channel["x-close-codes"] ?? []).map(({ code, meaning, reconnect }) => [element("code", {}, String(code)), meaning, reconnect]);
  return rows.length ? [element("h3", {}, "How a connection ends"), table(["Close code", "Meaning", "Reconnect?"], rows)] : [];
}

function drawChannel(whole, name) {
  const channel = whole.channels[name];
  return element(
    "section",
    { class: "channel", id: `channel-${name}` },
    element("h2", {}, channel.title, " ", element("code", {}, channel.address)),
    element("p", {}, ...prose(channel.description)),
    ...parameters(channel),
    ...query(channel),
    ...closeCodes(channel),
    ...Object.keys(channel.messages).map((message) => drawMessage(whole, message)),
  );
}

function drawContents(whole) {
  const link = (id, text) => element("li", {}, element("a", { href: `#${id}` }, text));
  const lists = Object.entries(whole.channels).map(([name, channel]) =>
    element("li", {}, element("a", { href: `#channel-${name}` }, channel.title), element("ul", {}, ...Object.keys(channel.messages).map((each) => link(each, each)))),
  );
  return element("ul", {}, ...lists);
}

function draw(whole) {
  document.getElementById("title").textContent = whole.info.title;
  document.getElementById("contents").replaceChildren(drawContents(whole));
  const about = element("p", { class: "about" }, ...prose(whole.info.description));
  document.getElementById("document").replaceChildren(about, ...Object.keys(whole.channels).map((name) => drawChannel(whole, name)));
  // What the address names is only there now. Names are of ASCII: nothing of them is escaped.
  document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

const answer = await fetch("/asyncapi.json");
if (answer.ok) {
  draw(await answer.json());
} else {
  document.getElementById("hint").prepend(`The description could not be read (${answer.status}); load this page again. `);
}
