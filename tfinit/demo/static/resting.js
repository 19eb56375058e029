// A tab that nobody sees and in which nothing trains gives its place on the server to others.

const AFTER = 60_000;

// `rests()` says whether nothing trains; `leave()` is called once it has rested unseen for a minute.
export function whenUnseen(rests, leave) {
  let timer = 0;
  const look = () => {
    if (rests()) leave();
    else timer = setTimeout(look, AFTER);
  };
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(look, AFTER);
  });
}
