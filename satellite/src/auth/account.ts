/** The name of an account, as systems have it, and as providers do. */
export function isAccount(name: string): boolean {
  return /^[\x21-\x7e]{1,200}$/.test(name);
}
