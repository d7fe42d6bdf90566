drop table if exists par_t
create table par_t (id int8 primary key, n int4, t text, d date, b bool, w numeric(6,2), u uuid, j jsonb, f float4, y bytea, z timestamptz, v varchar(4), s int2, g float8)
@each select {e} \bind {v}
@ e: $1 ;; $1::int4 ;; $1::text ;; $1::numeric ;; $1::bool ;; $1 + 1 ;; $1 || 'x' ;; $1 = 1 ;; 1 + $1::int8
@ v: 5 ;; null ;; abc ;; 1.5 ;; true ;; 
@each select {e}
@ e: $1::int4 + $2::int4 \bind 1 ,, 2 ;; $1::int + $1::int \bind 4 ;; $2::int \bind 1 ,, 2 ;; $1 || $2 \bind a ,, b ;; coalesce($1, 'x') \bind null ;; coalesce($1, 1) \bind null ;; $1 is null \bind null ;; $1 \bind 1 ;; 2 ;; upper($1) \bind a ;; abs($1) \bind -1 ;; length($1) \bind abc ;; $1::date + 1 \bind 2024-02-28 ;; $1::timestamptz \bind 2024-01-01 00:00+00 ;; $1::interval \bind 1 day ;; $1::uuid \bind x ;; $1::jsonb -> 'a' \bind {"a":1} ;; $1::int[] \bind {1,2} ;; 3 = any($1) \bind {1,3} ;; 3 = any($1::int[]) \bind {1,3} ;; $1::float4 \bind 0.1 ;; $1::float8 \bind 0.1 ;; $1::bytea \bind \x01 ;; $1::int2 \bind 70000 ;; $1 in (1, 2) \bind 2 ;; $1 between 1 and 5 \bind 3 ;; case when $1 then 1 else 2 end \bind true ;; case $1 when 1 then 'a' end \bind 1 ;; $1 like 'a%' \bind abc ;; 'abc' like $1 \bind a% ;; array[$1, 2] \bind 1 ;; array[$1, $2] \bind a ,, b ;; greatest($1, 5) \bind 7 ;; nullif($1, 'a') \bind a ;; ($1, 1) = (1, $2) \bind 1 ,, 1 ;; $1::varchar(2) \bind abc ;; $1::char(3) \bind a ;; not $1 \bind true ;; $1 and true \bind false ;; - $1 \bind 5 ;; $1 * 2.5 \bind 2 ;; $1 / 2::float8 \bind 3 ;; date '2024-01-01' + $1 \bind 5 ;; date '2024-01-01' - $1 \bind 2023-12-31 ;; now() - $1 < now() \bind 1 hour ;; $1::regclass \bind pg_class ;; to_json($1) \bind 1 ;; to_json($1::text) \bind a ;; format('%s', $1) \bind a ;; concat($1, $2) \bind a ,, 1 ;; $0 \bind 1 ;; $1 = $2 \bind 1 ,, 1 ;; $1 < 'a' \bind b ;; extract(year from $1::date) \bind 2024-01-01 ;; substring($1 from $2::int) \bind hello ,, 2 ;; substring($1, 2) \bind hello ;; generate_series(1, $1) \bind 2 ;; * from generate_series($1::int, $2) \bind 1 ,, 2 ;; 1 limit $1 \bind 1 ;; 1 limit $1 \bind x ;; 1 offset $1 \bind 1 ;; x from (values (1), (2)) t(x) where x = $1 \bind 2 ;; x from (values (1), (2)) t(x) order by $1 \bind 1 ;; $1 union select 1 \bind 2 ;; $1::text union select 'a' order by 1 \bind b ;; pg_typeof($1) \bind a ;; $1::"char" \bind a ;; $1::oid \bind 12 ;; $1::name \bind n ;; $1::time \bind 10:00 ;; $1::json \bind [1] ;; $1 is true \bind true ;; $1 is distinct from 1 \bind 1 ;; $1::text = any($2) \bind a ,, {a,b} ;; exists (select 1 where $1) \bind true ;; (select $1::int) \bind 3 ;; $1 at time zone 'UTC' \bind 2024-01-01
insert into par_t (id, n, t, d, b, w, u, j, f, y, z, v, s, g) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) on conflict (id) do nothing \bind 1 ,, 2 ,, tt ,, 2024-02-29 ,, t ,, 12.345 ,, a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11 ,, {"b":1} ,, 0.1 ,, \x0102 ,, 2024-01-01 10:00:00.5+00 ,, abcd ,, 7 ,, 1e100
select * from par_t where id = $1 \bind 1
@each select id from par_t where {c}
@ c: id = $1 \bind 1 ;; id = $1 \bind x ;; id = $1 and n > $2 \bind 1 ,, 0 ;; id in ($1, $2) \bind 1 ,, 2 ;; id = any($1) \bind {1,2} ;; id >= $1 and id < $2 \bind 0 ,, 9 ;; t = $1 \bind tt ;; d = $1 \bind 2024-02-29 ;; b = $1 \bind t ;; b and id = $1 \bind 1 ;; w > $1 \bind 12 ;; u = $1 \bind a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11 ;; j = $1 \bind {"b":1} ;; j @> $1 \bind {"b":1} ;; f = $1 \bind 0.1 ;; y = $1 \bind \x0102 ;; z = $1 \bind 2024-01-01 10:00:00.5+00 ;; v = $1 \bind abcd ;; s = $1 \bind 7 ;; g = $1 \bind 1e100 ;; id = $1::text::int8 \bind 1 ;; id::text = $1 \bind 1 ;; id + $1 = 2 \bind 1 ;; ($1::int8 is null or id = $1) \bind null ;; id = $1 limit $2 \bind 1 ,, 1
update par_t set n = $2 where id = $1 returning n \bind 1 ,, 9
update par_t set n = n + $2, t = $3 where id = $1 returning n, t \bind 1 ,, 1 ,, new
update par_t set n = coalesce($2, n) where id = $1 returning n \bind 1 ,, null
update par_t set n = $1 where id = $1 \bind 1
update par_t set j = $2 where id = $1 returning j \bind 1 ,, {"x": [1]}
insert into par_t (id, n) values ($1, $2), ($3, $4) on conflict do nothing \bind 21 ,, 1 ,, 22 ,, 2
insert into par_t (id, n) values ($1, $2::int + 1) on conflict (id) do update set n = excluded.n returning n \bind 1 ,, 4
insert into par_t (id, v) values ($1, $2) \bind 31 ,, toolong
delete from par_t where id = $1 returning id \bind 22
delete from par_t where id = any($1) \bind {21,23}
set application_name = $1 \bind x
show $1 \bind x
create table par_x (id int default $1 primary key) \bind 1
begin \bind 1
select $1 from nosuch \bind 1
select nosuch($1) \bind 1
select $1:: \bind 1
drop table par_t
