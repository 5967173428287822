/** MuJoCo's WebAssembly: how it is started, and how a task's model is compiled with either npm package. */
import { fetchBytes } from "./assets.js";
import { LiveError } from "./errors.js";

/** @typedef {import("./assets.js").Task} Task */

/**
 * MuJoCo's module. Only a few of its functions are used, so it is not typed further.
 * @param {string} base address of the page's folder @param {{read?: typeof fetchBytes}} [options]
 * @returns {Promise<any>}
 */
export async function loadMujoco(base, { read = fetchBytes } = {}) {
  const folder = `${base}/vendor/mujoco`;
  const [{ default: load }, wasmBinary] = await Promise.all([
    import(`${folder}/mujoco.js`),
    read(`${folder}/mujoco.wasm`),
  ]);
  try {
    return await new Promise((resolve, reject) => {
      // Emscripten's own way hides why it failed.
      const instantiateWasm = (/** @type {WebAssembly.Imports} */ imports, /** @type {any} */ done) => {
        const made = WebAssembly.instantiate(/** @type {BufferSource} */ (wasmBinary), imports);
        made.then(({ instance, module }) => done(instance, module)).catch(reject);
        return {};
      };
      load({ instantiateWasm, print: () => {}, printErr: () => {} }).then(resolve, reject);
    });
  } catch (cause) {
    const blocked = /disallowed|unsafe-eval|blocked/i.test(String(cause));
    const why = blocked ? "this server or browser forbids WebAssembly" : "its file may be damaged";
    const remedy = blocked ? "Allow it for this page, or use another browser" : "Reload the page";
    throw new LiveError(`MuJoCo did not start: ${why}. ${remedy}.`, { cause });
  }
}

/** Compile a task's model with either package. @param {any} mujoco @param {Task} task */
export function compile(mujoco, task) {
  if (mujoco.MjModel.from_xml_string) {
    const files = new mujoco.MjVFS();
    for (const [name, content] of task.meshes) files.addBuffer(name, content);
    const model = mujoco.MjModel.from_xml_string(task.physicsXml.replace('meshdir="../meshes"', ""), files);
    files.delete();
    return model;
  }
  const folder = "/live";
  const paths = [...task.meshes].map(([name, content]) => {
    mujoco.FS.mkdirTree(`${folder}/meshes`);
    mujoco.FS.writeFile(`${folder}/meshes/${name}`, content);
    return `${folder}/meshes/${name}`;
  });
  mujoco.FS.mkdirTree(`${folder}/physics`);
  paths.push(`${folder}/physics/task.xml`);
  mujoco.FS.writeFile(`${folder}/physics/task.xml`, task.physicsXml);
  try {
    return mujoco.MjModel.loadFromXML(`${folder}/physics/task.xml`);
  } finally {
    for (const path of paths) mujoco.FS.unlink(path);
  }
}
