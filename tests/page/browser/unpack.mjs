// Unpack the browser of the package into a folder: node unpack.mjs FOLDER
import { createReadStream, createWriteStream, mkdirSync, chmodSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createBrotliDecompress } from "node:zlib";
import { extract } from "tar-fs";

const packed = new URL("node_modules/@sparticuz/chromium/bin/", import.meta.url);
const [folder] = process.argv.slice(2);
const reader = (name) => [createReadStream(new URL(name, packed)), createBrotliDecompress({ chunkSize: 2 ** 21 })];

mkdirSync(folder, { recursive: true });
const program = join(folder, "chromium");
await pipeline(...reader("chromium.br"), createWriteStream(program));
chmodSync(program, 0o755);
// Libraries and a font that a small machine lacks.
for (const name of ["al2023.tar.br", "swiftshader.tar.br", "fonts.tar.br"]) await pipeline(...reader(name), extract(folder));
