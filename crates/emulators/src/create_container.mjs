// Makes a container in the emulated Azure store: `create_container.mjs ENDPOINT ACCOUNT KEY CONTAINER`. Such a request is
// signed, and nothing else here needs to know how.
import { createHmac } from "node:crypto";

const [endpoint, account, key, container] = process.argv.slice(2);
const headers = { "x-ms-date": new Date().toUTCString(), "x-ms-version": "2021-12-02" };
const signed = Object.entries(headers).map(([name, value]) => `${name}:${value}\n`).join("");
const resource = `/${account}/${account}/${container}\nrestype:container`;
const text = `PUT\n\n\n\n\n\n\n\n\n\n\n\n${signed}${resource}`;
const signature = createHmac("sha256", Buffer.from(key, "base64")).update(text, "utf8").digest("base64");
headers.authorization = `SharedKey ${account}:${signature}`;
const answer = await fetch(`${endpoint}/${account}/${container}?restype=container`, { method: "PUT", headers });
if (answer.status !== 201) {
  console.error(answer.status, await answer.text());
  process.exit(1);
}
