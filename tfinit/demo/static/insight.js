// The run in one sentence: which panes learned, and which did not.

const SAID = {
  learned: ["learned", "learned"],
  learning: ["is still learning", "are still learning"],
  stuck: ["is stuck where it began", "are stuck where they began"],
  diverged: ["diverged", "diverged"],
};

function listed(names) {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

const named = (card) => `${card.letter} (${card.name.slice(3)})`;

// Empty until every pane has an outcome, and where there is but one.
export function insight(cards, over) {
  if (cards.length < 2 || cards.some((card) => !card.root.dataset.outcome)) return "";
  const parts = Object.entries(SAID).flatMap(([outcome, [one, several]]) => {
    const names = cards.filter((card) => card.root.dataset.outcome === outcome).map(named);
    return names.length ? [`${listed(names)} ${names.length === 1 ? one : several}`] : [];
  });
  return `Only the initial weights differ${over ? "" : ", so far"}: ${parts.join("; ")}.`;
}
