// One run on the server: made, heard, steered, closed.

const EVENTS = [
  "scene",
  "frame",
  "verdict",
  "outcome",
  "state",
  "level",
  "lottery_progress",
  "lottery_done",
  "problem",
];

// What the server refused, in its words.
export class Refusal extends Error {
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

async function words(response) {
  try {
    const { detail } = await response.json();
    if (typeof detail === "string") return detail;
    if (Array.isArray(detail))
      return detail.map((one) => `${one.loc.slice(1).join(" ")}: ${one.msg}`).join("; ");
  } catch {
    /* not JSON: the status says it */
  }
  return `The server answered ${response.status} ${response.statusText}`.trim() + ".";
}

async function post(path, body) {
  let response;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Refusal(0, "The server does not answer. Is tfinit demo still running?");
  }
  if (!response.ok) throw new Refusal(response.status, await words(response));
  return response;
}

export async function menu() {
  const response = await fetch("api/menu");
  if (!response.ok) throw new Refusal(response.status, await words(response));
  return response.json();
}

// Null: it is loaded, or nobody answers, which others say.
export async function secondsToLoad() {
  try {
    return (await (await fetch("api/loading")).json()).seconds ?? null;
  } catch {
    return null;
  }
}

export async function pythonCode(settings, pane) {
  return (await post("api/python", { settings, pane })).text();
}

export class Connection {
  #source = null;
  #id = null;
  #over = false;

  // `hear(name, data)` gets every event; `lost()` is called once if the stream breaks off.
  constructor(settings, hear, lost) {
    this.settings = settings;
    this.hear = hear;
    this.lost = lost;
  }

  async open() {
    const { id } = await (await post("api/runs", this.settings)).json();
    if (this.#over) return; // settings changed meanwhile; the server forgets a run nobody hears
    this.#id = id;
    this.#source = new EventSource(`api/runs/${id}/events`);
    for (const name of EVENTS) {
      this.#source.addEventListener(name, (event) => {
        if (this.#over) return;
        this.hear(name, JSON.parse(event.data));
        if (name === "problem") this.close();
      });
    }
    // The browser would try again for ever, and the run is gone: say it instead.
    this.#source.onerror = () => {
      if (this.#over) return;
      this.close();
      this.lost();
    };
  }

  get live() {
    return this.#id !== null && !this.#over;
  }

  async control(body) {
    if (this.live) await post(`api/runs/${this.#id}/control`, body);
  }

  async lottery(body) {
    if (this.live) await post(`api/runs/${this.#id}/lottery`, body);
  }

  close() {
    this.#over = true;
    this.#source?.close();
  }
}
