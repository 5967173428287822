// What each result of the live page's benchmarks says of itself.
import { execSync } from "node:child_process";
import { cpus } from "node:os";

/**
 * @param {{live: string, logs?: string, commit?: string}} values options of the script: folders of one machine are left out of the command
 * @returns {{command: string, commit: string, machine: object}}
 */
export function about({ live, logs, mujoco, commit }) {
  const [, script, ...given] = process.argv;
  const folders = { [live]: "_build/live", [logs]: "LOGS", [mujoco]: "MUJOCO" };
  const command = ["node", script.replace(/.*benchmarks/, "benchmarks"), ...given.map((word) => folders[word] ?? word)].join(" ");
  const built = commit ?? execSync("git rev-parse --short HEAD").toString().trim();
  return { command, commit: built, machine: { cpus: cpus().length, cpu: cpus()[0].model, graphics: "SwiftShader" } };
}
