// node-postgres: parameters, named statements, types, errors, transactions.
const assert = require('assert');
const { Client, Pool } = require('pg');
(async () => {
  const db = new Client({ connectionString: process.argv[2] });
  await db.connect();
  await db.query('drop table if exists njs');
  await db.query('create table njs (id int4 primary key, t text, j jsonb, at timestamptz)');
  const at = new Date(Date.UTC(2024, 1, 29, 10));
  await db.query('insert into njs values ($1, $2, $3, $4)', [1, 'é', { a: [1] }, at]);
  const row = (await db.query('select * from njs where id = $1', [1])).rows[0];
  assert.deepStrictEqual(row, { id: 1, t: 'é', j: { a: [1] }, at });
  for (let n = 0; n < 3; n++) {
    const named = await db.query({ name: 'get', text: 'select t from njs where id = $1', values: [1], rowMode: 'array' });
    assert.deepStrictEqual(named.rows, [['é']]);
  }
  await assert.rejects(db.query('insert into njs (id) values (1)'), { code: '23505', table: 'njs', constraint: 'njs_pkey' });
  await assert.rejects(db.query('select nosuch'), { code: '42703' });
  await assert.rejects(db.query('select $1::int4', ['x']), { code: '22P02' });
  await db.query('begin');
  await db.query("update njs set t = 'x' where id = 1");
  await db.query('rollback');
  assert.strictEqual((await db.query('select t from njs')).rows[0].t, 'é');
  assert.deepStrictEqual((await db.query('select array[1,2] as a')).rows[0].a, [1, 2]);
  await db.end();
  const pool = new Pool({ connectionString: process.argv[2], max: 3 });
  const all = await Promise.all([1, 2, 3, 4].map((n) => pool.query('select $1::int4 as n', [n])));
  assert.deepStrictEqual(all.map((r) => r.rows[0].n), [1, 2, 3, 4]);
  await pool.query('drop table njs');
  await pool.end();
  console.log('ok', require('pg/package.json').version);
})().catch((error) => { console.error(error); process.exit(1); });
