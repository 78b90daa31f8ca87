import type { Client } from 'pg';

/** What this program writes and reads. A newer one refuses nothing that an older one has made: it migrates it. */
const SCHEMA_VERSION = 1;

/** Held while the schema is made or changed: satellites may start together. (An arbitrary number, the same for all.) */
const MIGRATION_LOCK = 7_364_211_905;

/**
 * Each brings the schema from one version to the next.
 *
 * `entries` holds everything, by kind and name, as JSON: what is compared and kept is whole records. What is removed stays
 * for a day without a value, so that who was away hears of it. `changed` is the number of the transaction that wrote an
 * entry. Transactions that write are numbered in the one row of `meta`, whose lock lets them through one at a time: they
 * commit in the order of their numbers, and who has seen one number has seen all before it. A sequence could not say that.
 *
 * `sessions` has a row for each satellite's connection. A satellite that has lost its connection, and with it the answer to
 * its last batch, reads here whether that was kept; and since it takes the old row away, what may still be on its way
 * in the old connection is refused.
 */
const migrations: readonly string[] = [
  `
  CREATE TABLE satellite.meta (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    version integer NOT NULL,
    seq bigint NOT NULL DEFAULT 0,
    horizon bigint NOT NULL DEFAULT 0
  );
  INSERT INTO satellite.meta (version) VALUES (1);

  CREATE TABLE satellite.entries (
    kind text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    value jsonb,
    changed bigint NOT NULL,
    removed timestamptz,
    PRIMARY KEY (kind, id)
  );
  CREATE INDEX entries_changed ON satellite.entries (changed, kind, id);
  CREATE INDEX entries_removed ON satellite.entries (removed) WHERE removed IS NOT NULL;

  CREATE TABLE satellite.sessions (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    seen timestamptz NOT NULL DEFAULT now(),
    batch bigint,
    result jsonb
  );

  CREATE FUNCTION satellite.now_ms() RETURNS double precision LANGUAGE sql VOLATILE
    RETURN extract(epoch FROM pg_catalog.clock_timestamp()) * 1000;

  -- Sets of changes, each kept whole or not at all; in one statement, so that no lock outlives a satellite that stands still.
  CREATE FUNCTION satellite.save(p_session uuid, p_batch bigint, p_sets jsonb) RETURNS jsonb
  LANGUAGE plpgsql SET search_path = pg_catalog, satellite, pg_temp AS $$
  DECLARE
    v_seq bigint;
    v_set jsonb;
    v_is_kept boolean;
    v_kept jsonb := '[]';
    v_result jsonb;
  BEGIN
    UPDATE meta SET seq = seq + 1 RETURNING seq INTO v_seq;
    FOR v_set IN SELECT value FROM jsonb_array_elements(p_sets) WITH ORDINALITY ORDER BY ordinality LOOP
      v_is_kept := NOT EXISTS (
        SELECT FROM jsonb_to_recordset(v_set) AS change (kind text, id text, before jsonb, blind boolean)
        LEFT JOIN entries ON entries.kind = change.kind AND entries.id = change.id
        WHERE change.blind IS NOT TRUE AND entries.value IS DISTINCT FROM change.before
      );
      IF v_is_kept THEN
        INSERT INTO entries (kind, id, value, changed, removed)
        SELECT kind, id, value, v_seq, CASE WHEN value IS NULL THEN now() END
        FROM jsonb_to_recordset(v_set) AS change (kind text, id text, value jsonb)
        ON CONFLICT (kind, id) DO UPDATE
          SET value = excluded.value, changed = excluded.changed, removed = excluded.removed;
      END IF;
      v_kept := v_kept || to_jsonb(v_is_kept);
    END LOOP;
    v_result := jsonb_build_object('seq', v_seq, 'kept', v_kept);
    UPDATE sessions SET batch = p_batch, result = v_result, seen = now() WHERE id = p_session;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'this session is over' USING ERRCODE = 'SAT01';
    END IF;
    PERFORM pg_notify('satellite', v_seq || ' ' || p_session);
    RETURN v_result;
  END $$;

  -- A new session in place of the last one, and what became of the last one's last batch.
  CREATE FUNCTION satellite.begin_session(p_session uuid, p_last uuid, p_name text) RETURNS jsonb
  LANGUAGE plpgsql SET search_path = pg_catalog, satellite, pg_temp AS $$
  DECLARE
    v_meta meta;
    v_last sessions;
  BEGIN
    SELECT * INTO v_meta FROM meta FOR UPDATE;
    DELETE FROM sessions WHERE id = p_last RETURNING * INTO v_last;
    INSERT INTO sessions (id, name) VALUES (p_session, p_name);
    RETURN jsonb_build_object('version', v_meta.version, 'seq', v_meta.seq, 'horizon', v_meta.horizon, 'batch', v_last.batch,
      'result', v_last.result, 'now', now_ms());
  END $$;

  -- Forgets what was removed a day ago, and satellites that have not been seen for a day.
  CREATE FUNCTION satellite.purge() RETURNS void
  LANGUAGE plpgsql SET search_path = pg_catalog, satellite, pg_temp AS $$
  BEGIN
    PERFORM FROM meta FOR UPDATE;
    DELETE FROM sessions WHERE seen < now() - interval '1 day';
    WITH purged AS (DELETE FROM entries WHERE removed < now() - interval '1 day' RETURNING changed)
    UPDATE meta SET horizon = greatest(horizon, (SELECT max(changed) FROM purged));
  END $$;
  `,
];

/** Throws where a newer program has written the schema. */
export function checkVersion(version: number): void {
  if (version <= SCHEMA_VERSION) return;
  throw new Error(
    `it was written by another version of satellite (schema ${version}, this one knows ${SCHEMA_VERSION})`,
  );
}

/** Makes the schema or brings it up to date. Rejects with the server's error, or one of ours for a newer schema. */
export async function migrate(client: Client): Promise<void> {
  await client.query('BEGIN');
  try {
    await client.query('SELECT pg_advisory_xact_lock($1)', [MIGRATION_LOCK]);
    const version = await versionOf(client);
    checkVersion(version);
    for (const step of migrations.slice(version)) await client.query(step);
    if (version < SCHEMA_VERSION)
      await client.query('UPDATE satellite.meta SET version = $1', [SCHEMA_VERSION]);
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

async function versionOf(client: Client): Promise<number> {
  const { rows } = await client.query(
    "SELECT current_setting('server_encoding') AS encoding, to_regnamespace('satellite') AS schema, to_regclass('satellite.meta') AS meta",
  );
  const [{ encoding, schema, meta }] = rows;
  if (encoding !== 'UTF8') throw new Error(`it is encoded in ${encoding}; make one in UTF8`);
  // Who may not make a schema may have been given one.
  if (schema === null) await client.query('CREATE SCHEMA satellite');
  if (meta === null) return 0;
  return (await client.query('SELECT version FROM satellite.meta')).rows[0]?.version;
}
