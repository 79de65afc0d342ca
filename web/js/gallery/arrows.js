/** Where the arrow keys lead among the cards of a gallery. */

export function neighbourOf(cards, card, key) {
  const here = cards.indexOf(card);
  const { offsetTop: top, offsetLeft: left } = card;
  const sameColumn = (c) => c.offsetLeft <= left && c.offsetLeft + c.offsetWidth > left;
  switch (key) {
    case "ArrowLeft": return cards[here - 1];
    case "ArrowRight": return cards[here + 1];
    case "ArrowUp": return cards.slice(0, here).reverse().find((c) => c.offsetTop < top && sameColumn(c));
    case "ArrowDown": return cards.slice(here).find((c) => c.offsetTop > top && sameColumn(c));
    case "Home": return cards[0];
    case "End": return cards.at(-1);
    default: return null;
  }
}
