// postgres.js: its look at pg_type when it connects, parameters, errors at prepare, transactions, cursors.
const assert = require('assert');
const postgres = require('postgres');
(async () => {
  const sql = postgres(process.argv[2], { max: 2, onnotice: () => {} });
  await sql`drop table if exists pjs`;
  await sql`create table pjs (id int4 primary key, t text, j jsonb)`;
  await sql`insert into pjs ${sql({ id: 1, t: 'é', j: { a: 1 } })}`;
  assert.deepStrictEqual([...(await sql`select * from pjs where id = ${1}`)], [{ id: 1, t: 'é', j: { a: 1 } }]);
  assert.deepStrictEqual((await sql`select ${sql.array([1, 2])}::int4[] as a`)[0].a, [1, 2]);
  await assert.rejects(sql`select nosuch`, { code: '42703' });
  await assert.rejects(sql`insert into pjs (id) values (1)`, { code: '23505' });
  await assert.rejects(sql.begin(async (tx) => { await tx`update pjs set t = 'x' where id = 1`; throw new Error('back'); }));
  assert.strictEqual((await sql`select t from pjs`)[0].t, 'é');
  const seen = [];
  await sql`select * from generate_series(1, 5) as g`.cursor(2, (rows) => { seen.push(...rows.map((r) => r.g)); });
  assert.deepStrictEqual(seen, [1, 2, 3, 4, 5]);
  await sql`drop table pjs`;
  await sql.end();
  console.log('ok', JSON.parse(require('fs').readFileSync(require('path').join(require.resolve('postgres'), '../../../package.json'))).version);
})().catch((error) => { console.error(error); process.exit(1); });
