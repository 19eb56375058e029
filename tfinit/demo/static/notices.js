// What the page has to say: lasting notices above the panes, and announcements for screen readers.

const box = document.getElementById("notices");
const announcer = document.getElementById("announcer");
const notices = new Map();
let waiting = [];

// One notice per subject; `action` is [label, what the button does].
export function notice(subject, text, action) {
  dismiss(subject);
  const root = document.createElement("div");
  root.className = "notice";
  root.dataset.notice = subject;
  root.setAttribute("role", "alert");
  const words = document.createElement("p");
  words.textContent = text;
  root.append(words);
  const button = (label, act) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = label;
    made.addEventListener("click", () => {
      dismiss(subject);
      act?.();
    });
    root.append(made);
  };
  if (action) button(...action);
  button("Dismiss");
  notices.set(subject, root);
  box.append(root);
}

export function dismiss(subject) {
  notices.get(subject)?.remove();
  notices.delete(subject);
}

// Several at once (four verdicts) are read as one.
export function announce(text) {
  if (!waiting.length) {
    setTimeout(() => {
      announcer.textContent = waiting.join(" ");
      waiting = [];
    }, 400);
  }
  waiting.push(text);
}
