// Fewer triangles, at build time: `node simplify.mjs FOLDER` for every mesh of FOLDER/meshes.json.
// It reads FOLDER/NAME.positions (float32, 3 a vertex), FOLDER/NAME.attributes (float32, normal, u
// and v) and FOLDER/NAME.corners (uint32, 3 a triangle). It writes FOLDER/NAME.corners anew, in an
// order that a GPU's cache likes, and FOLDER/NAME.kept (uint32): the old number of each new vertex.
import { readFileSync, writeFileSync } from "node:fs";
import { MeshoptEncoder, MeshoptSimplifier } from "meshoptimizer";

const ATTRIBUTES = 5;
const DROPPED = 0xffffffff; // what the reordering says of a vertex that no triangle has

/** @param {string} file */
function read(file) {
  const found = readFileSync(file);
  return found.buffer.slice(found.byteOffset, found.byteOffset + found.length);
}

await MeshoptEncoder.ready;
await MeshoptSimplifier.ready;
const folder = process.argv[2];
const plan = JSON.parse(readFileSync(`${folder}/meshes.json`, "utf8"));
for (const { name, tolerance } of plan.meshes) {
  const positions = new Float32Array(read(`${folder}/${name}.positions`));
  const attributes = new Float32Array(read(`${folder}/${name}.attributes`));
  let corners = new Uint32Array(read(`${folder}/${name}.corners`));
  if (tolerance > 0) {
    [corners] = MeshoptSimplifier.simplifyWithAttributes(
      corners,
      positions,
      3,
      attributes,
      ATTRIBUTES,
      plan.weights,
      null,
      0, // as few corners as the tolerance allows
      tolerance,
      ["ErrorAbsolute", "Permissive", "Prune"],
    );
  }
  const [renumbered, count] = MeshoptEncoder.reorderMesh(corners, true, false);
  const kept = new Uint32Array(count);
  renumbered.forEach((now, before) => {
    if (now !== DROPPED) kept[now] = before;
  });
  writeFileSync(`${folder}/${name}.corners`, corners);
  writeFileSync(`${folder}/${name}.kept`, kept);
}
