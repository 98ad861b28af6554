"""The text of the status page: no outside resources, values put in as text only, nothing inline but what is here."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

_STYLE: Final = """
  :root { color-scheme: light dark; --ok: #1a7f37; --bad: #cf222e; --warn: #9a6700; --line: #8884; }
  body { font: 15px/1.45 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
  h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
  table { border-collapse: collapse; width: 100%; }
  th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
  code { font-size: .92em; } .muted { opacity: .7; }
  .pill { display: inline-block; border: 1px solid currentColor; border-radius: 1rem; padding: 0 .55rem;
          margin: .1rem .25rem .1rem 0; white-space: nowrap; }
  .ok { color: var(--ok); } .bad { color: var(--bad); } .warn { color: var(--warn); }
  form { display: grid; gap: .5rem; grid-template-columns: max-content minmax(12rem, 28rem); align-items: center; }
  input:not([type=checkbox]), select, button { font: inherit; padding: .25rem .5rem; }
  form > .wide { grid-column: 1 / -1; } button { justify-self: start; }
"""

_SCRIPT: Final = """
  const cell = (row, text, kind) => {
    const td = row.insertCell(); const span = document.createElement('span');
    span.textContent = text; if (kind) span.className = kind; td.append(span); return td;
  };
  const pill = (td, text, kind) => {
    const span = document.createElement('span');
    span.className = 'pill ' + kind; span.textContent = text; td.append(span);
  };
  const show = (state) => {
    const storages = document.getElementById('storages'), projects = document.getElementById('projects');
    storages.replaceChildren(); projects.replaceChildren();
    let current = 0, lagging = 0;
    for (const storage of state.storages) {
      const row = storages.insertRow();
      cell(row, storage.name); cell(row, storage.address, 'muted'); cell(row, storage.replication_factor || '');
      cell(row, storage.ok ? 'reachable' : storage.problem, storage.ok ? 'ok' : 'bad');
    }
    for (const project of state.projects) {
      const row = projects.insertRow();
      const first = cell(row, project.path); const url = document.createElement('div');
      url.className = 'muted'; const code = document.createElement('code'); code.textContent = project.url;
      url.append(code); first.append(url);
      cell(row, project.primary ?? ''); cell(row, project.generation ?? '');
      const replicas = cell(row, project.problem ?? '', 'bad');
      for (const replica of project.replicas) {
        const behind = replica.behind > 0 ? `, ${replica.behind} behind` : '';
        const down = replica.healthy ? '' : ', down';
        if (behind) lagging += 1; else current += 1;
        const star = replica.storage === project.primary ? '★ ' : '';
        pill(replicas, star + replica.storage + behind + down, !replica.healthy ? 'bad' : behind ? 'warn' : 'ok');
      }
    }
    const repairs = document.getElementById('repairs');
    repairs.textContent = lagging ? `${current} replicas are current, ${lagging} are behind` : '';
    offer(state.storages.map((storage) => storage.name));
    if (state.hidden_projects) cell(projects.insertRow(), `and ${state.hidden_projects} more`, 'muted');
  };
  const offer = (names) => {
    const select = document.querySelector('select[name=storage]');
    if (select.dataset.names === names.join()) return;
    select.dataset.names = names.join();
    select.replaceChildren(new Option('chosen by weight', ''), ...names.map((name) => new Option(name, name)));
  };
  const create = async (event) => {
    event.preventDefault();
    const form = event.target.elements, result = document.getElementById('result');
    const say = (text, kind) => { result.textContent = text; result.className = 'wide ' + kind; };
    const wanted = { path: form.path.value, name: form.path.value, initialize_with_readme: form.readme.checked };
    if (form.storage.value) wanted.repository_storage = form.storage.value;
    form.submit.disabled = true; say('Creating …', 'muted');
    try {
      // The token goes in a header that only a script of this page can send: no other page can create in its name.
      const answer = await fetch('/api/v4/projects', {
        method: 'POST', credentials: 'omit',
        headers: { 'Content-Type': 'application/json', 'PRIVATE-TOKEN': form.token.value },
        body: JSON.stringify(wanted),
      });
      const body = await answer.json();
      if (answer.ok) say('Created: git clone ' + body.http_url_to_repo, 'ok'); else say(body.message, 'bad');
      if (body.hint) say(body.message + ' — ' + body.hint, 'bad');
      if (answer.ok) form.path.value = '';
    } catch (error) {
      say('The gateway does not answer: ' + error.message, 'bad');
    }
    form.submit.disabled = false;
  };
  document.getElementById('create').addEventListener('submit', create);
  const refresh = async () => {
    const when = document.getElementById('when');
    try {
      const answer = await fetch('/-/status.json', { cache: 'no-store' });
      if (!answer.ok) throw new Error('HTTP ' + answer.status);
      show(await answer.json());
      when.textContent = 'As of ' + new Date().toLocaleTimeString() + '; refreshes every 2 seconds.';
      when.className = 'muted';
    } catch (error) {
      when.textContent = 'The gateway does not answer: ' + error.message; when.className = 'bad';
    }
    setTimeout(refresh, 2000);
  };
  refresh();
"""

PAGE: Final = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Praefect: projects and replicas</title>
<style>{_STYLE}</style>
<h1>Praefect: projects and replicas</h1>
<p class="muted" id="when" role="status">Asking …</p>
<h2>Storages</h2>
<table><thead><tr><th>storage<th>address<th>copies<th>state</thead><tbody id="storages"></tbody></table>
<h2>Projects</h2>
<p class="warn" id="repairs" role="status"></p>
<table><thead><tr><th>project<th>primary<th>generation<th>replicas</thead><tbody id="projects"></tbody></table>
<p class="muted">★ primary · generation counts acknowledged changes · a replica that is behind is being repaired</p>
<h2>New project</h2>
<form id="create">
  <label for="path">path</label><input id="path" name="path" required placeholder="team/app">
  <label for="storage">storage</label><select id="storage" name="storage"></select>
  <label for="token">access token</label><input id="token" name="token" type="password" required autocomplete="off">
  <label class="wide"><input name="readme" type="checkbox" checked> initialize with a README</label>
  <button name="submit">Create project</button>
  <output class="wide" id="result"></output>
</form>
<script>{_SCRIPT}</script>
</html>
"""


def _hash_source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# A form that is sent without the script would put the token into an address: it cannot be sent.
CONTENT_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        f"script-src {_hash_source(_SCRIPT)}",
        f"style-src {_hash_source(_STYLE)}",
        "connect-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
