/** The name below the domain of the host on which people sign in. No token is one word. */
export const SIGN_IN_LABEL = 'auth';
