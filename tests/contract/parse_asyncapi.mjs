// Prints what @asyncapi/parser has to say of an AsyncAPI document, as JSON. Usage: node parse_asyncapi.mjs FILE
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
console.log(JSON.stringify({
  version: document?.version() ?? null,
  messages: document?.allMessages().all().map((message) => message.id()) ?? [],
  diagnostics: diagnostics.map(({ severity, code, message, path }) => ({ severity, code, message, path: path.join(".") })),
}));
