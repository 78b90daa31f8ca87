/** A server as ssh is given it. */
export interface Via {
  /** `[USER@]HOST` */
  readonly destination: string;
  readonly host: string;
  readonly port: number | undefined;
}

/** `[USER@]HOST[:PORT]`, as the option's reader has accepted it. */
export function viaOf(text: string): Via {
  const [, destination = '', host = '', port] = /^((?:[^@]*@)?([^:]*))(?::(\d+))?$/.exec(text) ?? [];
  return { destination, host, port: port === undefined ? undefined : Number(port) };
}
