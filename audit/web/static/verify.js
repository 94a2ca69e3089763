// Checks a receipt (C2SP tlog-proof) in this browser, with WebCrypto and nothing from the server
// but the text in the box, the key in the field, and Avro schemas that are compared by their hash.
"use strict";

const Receipt = (() => {
  const utf8 = new TextEncoder();
  const MAX_RECEIPT_CHARS = 4_000_000;
  const MAX_PROOF_HASHES = 63;
  const MAX_DEPTH = 64;

  class Wrong extends Error {}

  function base64(text) {
    if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4) throw new Wrong("not base64");
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  }
  const hex = (bytes) => [...bytes].map((b) => b.toString(16).padStart(2, "0")).join("");
  const same = (a, b) => a.length === b.length && a.every((byte, at) => byte === b[at]);
  function joined(...parts) {
    const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }
  const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  // RFC 6962 2.1: a leaf's hash has 0x00 in front, a node's 0x01.
  const leafHash = (leaf) => sha256(joined(Uint8Array.of(0), leaf));
  const nodeHash = (left, right) => sha256(joined(Uint8Array.of(1), left, right));

  function parse(text) {
    if (text.length > MAX_RECEIPT_CHARS) throw new Wrong("the receipt is too long");
    const end = text.indexOf("\n\n");
    if (end < 0) throw new Wrong("a receipt has an empty line before its checkpoint");
    const lines = text.slice(0, end).split("\n");
    if (lines.shift() !== "c2sp.org/tlog-proof@v1") throw new Wrong("this is no receipt");
    if (!lines.length || !lines[0].startsWith("extra ")) throw new Wrong("it does not hold the entry");
    const leaf = base64(lines.shift().slice(6));
    const number = /^index (0|[1-9][0-9]{0,18})$/.exec(lines.shift() || "");
    if (!number) throw new Wrong("it does not name its index");
    if (lines.length > MAX_PROOF_HASHES) throw new Wrong("its proof is too long");
    const proof = lines.map(base64);
    if (proof.some((node) => node.length !== 32)) throw new Wrong("a proof hash has 32 bytes");
    return { leaf, index: BigInt(number[1]), proof, note: text.slice(end + 2) };
  }

  function parseNote(note) {
    const end = note.lastIndexOf("\n\n");
    if (end < 0 || !note.endsWith("\n")) throw new Wrong("the checkpoint is no signed note");
    const text = note.slice(0, end + 1);
    const signatures = note.slice(end + 2, -1).split("\n").map((line) => {
      const parts = /^\u2014 (\S+) (\S+)$/u.exec(line);
      if (!parts) throw new Wrong("a signature line of the checkpoint cannot be read");
      return { name: parts[1], bytes: base64(parts[2]) };
    });
    const lines = text.split("\n");
    if (lines.length !== 4 || !/^(0|[1-9][0-9]{0,18})$/.test(lines[1])) throw new Wrong("no checkpoint");
    return { text, signatures, origin: lines[0], size: BigInt(lines[1]), root: base64(lines[2]) };
  }

  function parseKey(vkey) {
    const parts = /^([^\s+]+)\+([0-9a-f]{8})\+(\S+)$/.exec(vkey.trim());
    if (!parts) throw new Wrong("that is no verifier key: name+id+key");
    const key = base64(parts[3]);
    if (key.length !== 33 || key[0] !== 1) throw new Wrong("that is no Ed25519 key");
    return { name: parts[1], id: parts[2], algorithm: key[0], bytes: key.slice(1) };
  }

  // RFC 9162 2.1.3.2
  async function rootOf(hash, index, size, proof) {
    if (index >= size) throw new Wrong("the index is not below the checkpoint's size");
    let fn = index;
    let sn = size - 1n;
    for (const node of proof) {
      if (sn === 0n) throw new Wrong("the proof is too long");
      if (fn & 1n || fn === sn) {
        hash = await nodeHash(node, hash);
        while (!(fn & 1n) && fn !== 0n) {
          fn >>= 1n;
          sn >>= 1n;
        }
      } else {
        hash = await nodeHash(hash, node);
      }
      fn >>= 1n;
      sn >>= 1n;
    }
    if (sn !== 0n) throw new Wrong("the proof is too short");
    return hash;
  }

  async function signedBy(note, key) {
    const expected = await sha256(joined(utf8.encode(key.name + "\n"), Uint8Array.of(1), key.bytes));
    if (hex(expected.slice(0, 4)) !== key.id) throw new Wrong("the key's id does not fit the key");
    const own = note.signatures.filter((s) => s.name === key.name && hex(s.bytes.slice(0, 4)) === key.id);
    if (!own.length) throw new Wrong(`not signed by ${key.name}`);
    const imported = await crypto.subtle.importKey("raw", key.bytes, "Ed25519", false, ["verify"]);
    const signature = own[0].bytes.slice(4);
    if (!(await crypto.subtle.verify("Ed25519", imported, signature, utf8.encode(note.text)))) {
      throw new Wrong(`the signature of ${key.name} does not hold`);
    }
  }

  // Avro 1.11 binary: what the leaf itself says, read here and not by the server.
  class Avro {
    constructor(bytes, schema) {
      this.bytes = bytes;
      this.at = 0;
      this.names = new Map();
      this.learn(schema);
    }
    // A type may be defined in a part that this entry does not have.
    learn(schema) {
      if (typeof schema !== "object" || schema === null) return;
      if (Array.isArray(schema)) return schema.forEach((one) => this.learn(one));
      if (["record", "enum", "fixed"].includes(schema.type)) this.names.set(schema.name, schema);
      this.learn(schema.fields);
      for (const part of ["type", "items", "values"]) this.learn(schema[part]);
    }
    take(count) {
      if (count < 0 || this.at + count > this.bytes.length) throw new Wrong("the entry ends too soon");
      this.at += count;
      return this.bytes.subarray(this.at - count, this.at);
    }
    long() {
      let value = 0n;
      for (let shift = 0n; shift < 70n; shift += 7n) {
        const byte = this.take(1)[0];
        value |= BigInt(byte & 127) << shift;
        if (byte < 128) return BigInt.asIntN(64, (value >> 1n) ^ -(value & 1n));
      }
      throw new Wrong("a number of the entry is too long");
    }
    sized() {
      const size = this.long();
      if (size < 0n || size > BigInt(this.bytes.length)) throw new Wrong("a length of the entry is wrong");
      return this.take(Number(size));
    }
    read(schema, depth = 0) {
      if (depth > MAX_DEPTH) throw new Wrong("the entry is nested too deeply");
      if (Array.isArray(schema)) {
        const branch = schema[Number(this.long())];
        if (branch === undefined) throw new Wrong("the entry names a branch that is not there");
        return this.read(branch, depth + 1);
      }
      const known = typeof schema === "string" ? this.names.get(schema.split(".").pop()) : undefined;
      if (known) return this.read(known, depth + 1);
      const type = typeof schema === "string" ? schema : schema.type;
      if (typeof type === "object") return this.read(type, depth + 1);
      switch (type) {
        case "null": return null;
        case "boolean": return this.take(1)[0] === 1;
        case "int":
        case "long": return this.long();
        case "double": return new DataView(this.take(8).slice().buffer).getFloat64(0, true);
        case "float": return new DataView(this.take(4).slice().buffer).getFloat32(0, true);
        case "string": return new TextDecoder("utf-8", { fatal: true }).decode(this.sized());
        case "bytes": return this.sized();
        case "fixed": return this.take(schema.size);
        case "enum": return schema.symbols[Number(this.long())];
        case "array":
        case "map": return this.blocks(schema, depth);
        case "record": {
          const found = {};
          for (const field of schema.fields) found[field.name] = this.read(field.type, depth + 1);
          return found;
        }
        default: throw new Wrong(`a type that is not known here: ${type}`);
      }
    }
    blocks(schema, depth) {
      const found = [];
      for (let count = this.long(); count !== 0n; count = this.long()) {
        if (count < 0n) {
          count = -count;
          this.long();
        }
        if (count > BigInt(this.bytes.length)) throw new Wrong("a list of the entry is too long");
        for (let n = 0n; n < count; n++) {
          if (schema.type === "map") {
            const key = this.read("string", depth + 1);
            found.push({ name: key, value: this.read(schema.values, depth + 1) });
          } else found.push(this.read(schema.items, depth + 1));
        }
      }
      return found;
    }
  }

  async function schemaOf(digest) {
    const answer = await fetch(`/schemas/${digest}`);
    if (!answer.ok) return null;
    const bytes = new Uint8Array(await answer.arrayBuffer());
    // Named by its content: whoever serves it cannot pass another one off.
    if (hex(await sha256(bytes)) !== digest) throw new Wrong("the schema is not the one it is named by");
    return JSON.parse(new TextDecoder().decode(bytes));
  }

  function whole(bytes, schema, marked) {
    const avro = new Avro(marked ? bytes.subarray(10) : bytes, schema);
    if (marked && !(bytes[0] === 0xc3 && bytes[1] === 1)) throw new Wrong("the entry is not Avro");
    const found = avro.read(schema);
    if (avro.at !== avro.bytes.length) throw new Wrong("bytes follow the entry");
    return found;
  }

  async function said(leaf, entrySchema) {
    const entry = whole(leaf, entrySchema, true);
    if (entry.kind === "QUARANTINED" || !entry.schema_hash) return { entry, event: null };
    const envelope = await schemaOf(hex(entry.schema_hash));
    if (!envelope) return { entry, event: null };
    const event = whole(entry.event, envelope, true);
    const digest = event.payload_schema && hex(event.payload_schema);
    const payloadSchema = digest && !event.encryption ? await schemaOf(digest) : null;
    const payload = payloadSchema ? whole(event.payload, payloadSchema, false) : null;
    return { entry, event, payload };
  }

  return { Wrong, parse, parseNote, parseKey, rootOf, leafHash, signedBy, said, schemaOf, same, hex };
})();

(() => {
  const form = document.getElementById("check");
  if (!form) return;
  const steps = document.getElementById("steps");
  const verdict = document.getElementById("checked");
  const read = document.getElementById("read");

  function step(ok, words) {
    const item = document.createElement("li");
    item.className = ok ? "ok" : "bad";
    item.textContent = `${ok ? "holds" : "wrong"}: ${words}`;
    steps.append(item);
  }
  function shown(value) {
    if (value instanceof Uint8Array) return Receipt.hex(value.subarray(0, 64)) + (value.length > 64 ? "…" : "");
    if (value === null) return "null";
    if (typeof value === "object") {
      return JSON.stringify(value, (_, v) => (typeof v === "bigint" ? v.toString() : v instanceof Uint8Array ? Receipt.hex(v) : v)).slice(0, 2000);
    }
    return String(value).slice(0, 2000);
  }
  // Characters that move a cursor or turn the direction are spelled out, as in the rest of the page.
  const harmless = (text) =>
    text.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
      (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
  function row(name, value) {
    const dt = document.createElement("dt");
    const dd = document.createElement("dd");
    dt.textContent = name;
    dd.textContent = harmless(shown(value));
    read.append(dt, dd);
  }

  async function check() {
    steps.replaceChildren();
    read.replaceChildren();
    verdict.className = "state warn";
    verdict.textContent = "checking";
    try {
      if (!globalThis.crypto || !crypto.subtle) {
        throw new Receipt.Wrong("this browser offers WebCrypto only over https or on localhost");
      }
      const receipt = Receipt.parse(document.getElementById("receipt").value);
      const note = Receipt.parseNote(receipt.note);
      const key = Receipt.parseKey(document.getElementById("vkey").value);
      const found = await Receipt.said(receipt.leaf, await Receipt.schemaOf(form.dataset.entrySchema));
      if (found.entry.index !== receipt.index) throw new Receipt.Wrong("the entry says another index");
      step(true, `the entry says it stands at index ${receipt.index}`);
      const hash = await Receipt.leafHash(receipt.leaf);
      if (Receipt.hex(hash) !== form.dataset.leafHash) throw new Receipt.Wrong("its hash is not the one of this page");
      step(true, `its leaf hash is ${Receipt.hex(hash)}`);
      const root = await Receipt.rootOf(hash, receipt.index, note.size, receipt.proof);
      if (!Receipt.same(root, note.root)) throw new Receipt.Wrong("the proof does not lead to the checkpoint's root");
      step(true, `${receipt.proof.length} hashes lead to the root of size ${note.size}`);
      await Receipt.signedBy(note, key);
      if (note.origin !== key.name) throw new Receipt.Wrong(`the checkpoint is of ${note.origin}`);
      step(true, `the checkpoint is signed by ${key.name}`);
      for (const [name, value] of Object.entries(found.event || found.entry)) {
        if (value !== null && name !== "payload") row(name, value);
      }
      if (found.payload) row("payload", found.payload);
      verdict.className = "state ok";
      verdict.textContent = "checked in this browser";
    } catch (error) {
      step(false, error instanceof Receipt.Wrong ? error.message : "the receipt cannot be read");
      verdict.className = "state bad";
      verdict.textContent = "does not hold";
    }
  }
  document.getElementById("receipt").value = document.getElementById("saved").textContent;
  document.getElementById("own").hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    check();
  });
  check();
})();
