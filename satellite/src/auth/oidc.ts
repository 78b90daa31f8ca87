import { statSync } from 'node:fs';
import * as client from 'openid-client';
import { ConfigError, type OidcConfig } from '../config.ts';
import { fileFault } from '../file-fault.ts';
import { readRegular } from '../regular-file.ts';
import { isReadableByEverybody } from '../secret-file.ts';
import type { ProviderTokens } from './sign-ins.ts';

const TIMEOUT_S = 10;
/** How old the provider's description of itself may be when a browser is sent there. */
const DISCOVERY_MS = 60_000;

/** What a browser must come back with. */
export interface Transaction {
  readonly state: string;
  readonly nonce: string;
  readonly verifier: string;
}

export interface Identity {
  readonly user: string;
  readonly provider: ProviderTokens;
}

/** The provider has answered, and the answer is no; the message says why, for people. */
export class NotAllowedError extends Error {
  override name = 'NotAllowedError';
}

/** The provider doesn't answer, or nonsense. */
export class ProviderError extends Error {
  override name = 'ProviderError';
}

/** An OpenID Connect provider: the authorization code flow with PKCE, state and nonce. */
export class OidcProvider {
  readonly #config: OidcConfig;
  readonly #secret: string;
  readonly #redirectUri: () => string;
  #discovered: Promise<client.Configuration> | undefined;
  #discoveredAt = 0;

  /** Throws a ConfigError where the secret can't be read, or can be read by others. */
  constructor(config: OidcConfig, redirectUri: () => string) {
    this.#config = config;
    this.#redirectUri = redirectUri;
    this.#secret = readSecret(config.clientSecretFile);
  }

  /** Where to send a browser, and what it must come back with. Rejects with a ProviderError. */
  async begin(): Promise<{ url: string; transaction: Transaction }> {
    // A browser that is sent to a provider which is down would not hear why.
    if (Date.now() - this.#discoveredAt > DISCOVERY_MS) this.#discovered = undefined;
    const provider = await this.#provider();
    const transaction = {
      state: client.randomState(),
      nonce: client.randomNonce(),
      verifier: client.randomPKCECodeVerifier(),
    };
    const url = client.buildAuthorizationUrl(provider, {
      redirect_uri: this.#redirectUri(),
      scope: this.#config.scopes,
      state: transaction.state,
      nonce: transaction.nonce,
      code_challenge: await client.calculatePKCECodeChallenge(transaction.verifier),
      code_challenge_method: 'S256',
    });
    return { url: url.href, transaction };
  }

  /** Who has come back, with this query. Rejects with a NotAllowedError or a ProviderError. */
  async finish(query: string, { state, nonce, verifier }: Transaction): Promise<Identity> {
    const provider = await this.#provider();
    const url = new URL(this.#redirectUri());
    url.search = query;
    return this.#ask(async () => {
      const tokens = await client.authorizationCodeGrant(provider, url, {
        expectedState: state,
        expectedNonce: nonce,
        pkceCodeVerifier: verifier,
        idTokenExpected: true,
      });
      const claims = tokens.claims();
      if (claims === undefined) throw new NotAllowedError('The provider has not said who you are.');
      return this.#identify(provider, claims.sub, claims, tokens, null);
    });
  }

  /** Asks again about somebody who is signed in. Rejects with a NotAllowedError or a ProviderError. */
  async recheck(user: string, before: ProviderTokens): Promise<ProviderTokens> {
    const provider = await this.#provider();
    const { user: now, provider: tokens } = await this.#ask(async () => {
      if (before.refreshToken === null)
        return this.#identify(provider, before.subject, {}, { access_token: before.accessToken }, before);
      const tokens = await client.refreshTokenGrant(provider, before.refreshToken);
      return this.#identify(provider, before.subject, tokens.claims() ?? {}, tokens, before);
    });
    if (now !== user) throw new NotAllowedError('The provider knows you by another name now.');
    return tokens;
  }

  /** Where a browser signs out of the provider, too; undefined where the provider has no such place. */
  async signOutUrl({ idToken }: ProviderTokens, backTo: string): Promise<string | undefined> {
    const provider = await this.#provider().catch(() => undefined);
    if (provider?.serverMetadata().end_session_endpoint === undefined) return undefined;
    return client.buildEndSessionUrl(provider, {
      post_logout_redirect_uri: backTo,
      ...(idToken !== null && { id_token_hint: idToken }),
    }).href;
  }

  /** What the provider says at this moment goes before what the browser has brought along. */
  async #identify(
    provider: client.Configuration,
    subject: string,
    brought: Readonly<Record<string, unknown>>,
    tokens: Pick<client.TokenEndpointResponse, 'access_token' | 'refresh_token' | 'id_token'>,
    before: ProviderTokens | null,
  ): Promise<Identity> {
    const told =
      provider.serverMetadata().userinfo_endpoint === undefined
        ? {}
        : await client.fetchUserInfo(provider, tokens.access_token, subject);
    const claims = { ...brought, ...told };
    return {
      user: this.#userOf(claims),
      provider: {
        subject,
        accessToken: tokens.access_token,
        refreshToken: tokens.refresh_token ?? before?.refreshToken ?? null,
        idToken: tokens.id_token ?? before?.idToken ?? null,
      },
    };
  }

  #userOf(claims: Readonly<Record<string, unknown>>): string {
    const { userClaim, allow } = this.#config;
    for (const [name, values] of Object.entries(allow)) {
      const has = [claims[name]].flat();
      if (!values.some((value) => has.includes(value)))
        throw new NotAllowedError('Your account at the provider is not one of those that may come in here.');
    }
    const user = claims[userClaim];
    if (typeof user !== 'string' || user === '')
      throw new NotAllowedError(`The provider has not said your name (claim ${userClaim}).`);
    // Anybody can write anybody's address into his profile.
    if (userClaim === 'email' && claims.email_verified !== true)
      throw new NotAllowedError('The provider has not verified your address.');
    return user;
  }

  async #ask(question: () => Promise<Identity>): Promise<Identity> {
    try {
      return await question();
    } catch (error) {
      if (error instanceof NotAllowedError) throw error;
      if (error instanceof client.AuthorizationResponseError)
        throw new NotAllowedError('The provider did not let you in.', { cause: error });
      // Refused, rather than failed: RFC 6749 section 5.2, RFC 6750 section 3.1.
      const isRefusal =
        (error instanceof client.ResponseBodyError &&
          error.status < 500 &&
          error.error === 'invalid_grant') ||
        (error instanceof client.WWWAuthenticateChallengeError && error.status < 500);
      if (isRefusal) throw new NotAllowedError('The provider does not know you any more.', { cause: error });
      throw new ProviderError((error as Error).message, { cause: error });
    }
  }

  /** Asked for now and then, and again after a failure. */
  #provider(): Promise<client.Configuration> {
    const { issuer, clientId } = this.#config;
    const insecure = issuer.protocol === 'http:' ? [client.allowInsecureRequests] : [];
    if (this.#discovered) return this.#discovered;
    this.#discoveredAt = Date.now();
    this.#discovered = client
      .discovery(issuer, clientId, this.#secret, undefined, { timeout: TIMEOUT_S, execute: insecure })
      .catch((error: Error) => {
        this.#discovered = undefined;
        throw new ProviderError(error.message, { cause: error });
      });
    return this.#discovered;
  }
}

function readSecret(file: string): string {
  const fault = (message: string): ConfigError =>
    new ConfigError(`auth.oidc.clientSecretFile: ${file} ${message}`);
  try {
    if (isReadableByEverybody(statSync(file))) throw fault('can be read by everybody; chmod 600 it');
    const secret = readRegular(file).toString().trim();
    if (secret === '') throw fault('is empty');
    return secret;
  } catch (error) {
    throw error instanceof ConfigError ? error : fault(`can't be read: ${fileFault(error)}`);
  }
}
