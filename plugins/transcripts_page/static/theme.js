// The theme of Airflow, whose page holds this one in a frame; without a frame, that of the system.

const system = matchMedia("(prefers-color-scheme: dark)");

function airflow() {
  try {
    return parent !== window && parent.document.documentElement;
  } catch {
    return null; // another site holds the page
  }
}

export function followTheme() {
  const root = airflow();
  const isDark = () => (root ? root.classList.contains("dark") : system.matches);
  const apply = () => document.documentElement.classList.toggle("dark", isDark());
  apply();
  if (root) new MutationObserver(apply).observe(root, { attributes: true, attributeFilter: ["class"] });
  else system.addEventListener("change", apply);
}

/** Download from an address. A frame of Airflow's may not do this, but Airflow's page may. */
export function download(url) {
  const root = airflow();
  const owner = root ? parent.document : document;
  const link = owner.createElement("a");
  link.href = new URL(url, location.href).href;
  link.download = "";
  owner.body.append(link);
  link.click();
  link.remove();
}

/** Open a page of Airflow's own, such as a run's, in place of this one. */
export function openInAirflow(path) {
  const root = airflow();
  const owner = root ? parent.document : document;
  const link = owner.createElement("a");
  link.href = new URL(`../${path}`, location.href.split("?")[0]).href;
  owner.body.append(link);
  link.click();
  link.remove();
}
