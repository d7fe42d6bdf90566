drop table if exists dml_t, dml_d, dml_n
create table dml_t (id int4 primary key, n int4, t text)
create table dml_d (id int8 primary key, a int4 default 7, b text default 'x' not null, c timestamptz default now(), e bool not null)
create table dml_n (k text primary key, v varchar(3), w numeric(4,1), f float4, u uuid, j jsonb, y bytea, d date)
insert into dml_t values (1, 10, 'a')
insert into dml_t values (1, 10, 'a')
insert into dml_t (id, t) values (2, 'b'), (3, 'c')
insert into dml_t (id, t) values (4, 'd'), (2, 'e')
insert into dml_t (id) values (5) returning *
insert into dml_t (id, n) values (6, 60) returning id, n + 1 as m, t
insert into dml_t values (7)
insert into dml_t values (7, 1, 'x', 9)
insert into dml_t (id, n) values (8)
insert into dml_t (id, id) values (8, 8)
insert into dml_t (id, nosuch) values (8, 8)
insert into nosuch values (1)
insert into dml_t (n) values (1)
insert into dml_t values (null, 1)
insert into dml_t values ('9', '90', 9)
insert into dml_t values ('x', 1, 'a')
insert into dml_t values (1.5, 1, 'a')
insert into dml_t values (2.5, 1, 'a')
insert into dml_t values (99999999999, 1, 'a')
insert into dml_t values (true, 1, 'a')
insert into dml_t values (10, default, default) returning *
insert into dml_t default values
insert into dml_t select 11, 110, 'k'
insert into dml_t select id + 100, n, t from dml_t where id = 1
insert into dml_t (id) select g from generate_series(20, 22) g
insert into dml_t select * from dml_t where id = 1
insert into dml_t values (1, 11, 'a2') on conflict do nothing
insert into dml_t values (1, 11, 'a2') on conflict (id) do nothing returning id
insert into dml_t values (1, 11, 'a2') on conflict (id) do update set n = excluded.n returning *
insert into dml_t values (1, 5, 'a3') on conflict (id) do update set n = dml_t.n + excluded.n, t = excluded.t returning *
insert into dml_t values (1, 5, 'a3') on conflict (id) do update set n = 0 where dml_t.n > 100 returning *
insert into dml_t values (1, 5, 'a3') on conflict (n) do nothing
insert into dml_t values (1, 5, 'a3') on conflict on constraint dml_t_pkey do update set t = 'c' returning t
insert into dml_t values (1, 5, 'a3') on conflict on constraint nosuch do nothing
insert into dml_t values (30, 1, 'x'), (30, 2, 'y') on conflict (id) do update set n = excluded.n
insert into dml_t values (31, 1, 'x'), (31, 2, 'y') on conflict (id) do nothing
insert into dml_t values (1, 5, 'a3') on conflict (id) do update set id = excluded.id returning id
insert into dml_t as x values (1, 5, 'a3') on conflict (id) do update set n = x.n + 1 returning x.n
insert into dml_t values (1, 5, 'a3') on conflict (id) do update set nosuch = 1
insert into dml_t values (1, 5, 'a3') on conflict do update set n = 1
insert into dml_t values (1, 5, 'a3') on conflict (id) do update set (n, t) = (9, 'z') returning n, t
insert dml_t values (1)
insert into dml_t (id) value (1)
insert into dml_t (id, n) values (40, (select max(n) from dml_t))
insert into dml_t values (41, 1 + 1, upper('x') || 'y') returning *
insert into dml_t values (42, 1/0, 'x')
insert into dml_t overriding system value values (43, 1, 'x')
insert into dml_t values (44, nosuch, 'x')
insert into dml_t values (45, 1, 'x') returning nosuch
insert into dml_t values (46, sum(1), 'x')
insert into public.dml_t values (47, 1, 'x')
with s as (select 48 as i) insert into dml_t select i from s
select * from dml_t order by id
update dml_t set n = 1 where id = 1
update dml_t set n = n + 1 where id = 1 returning n
update dml_t set n = 1, t = 'q' where id = 2 returning *
update dml_t set n = 1 where id = 999
update dml_t set (n, t) = (5, 'w') where id = 2 returning n, t
update dml_t set (n, t) = (select 6, 'v') where id = 2 returning n, t
update dml_t set (n, t) = (1, 2, 3) where id = 2
update dml_t set n = null where id = 2 returning n
update dml_t set n = default where id = 2
update dml_t set id = 1 where id = 1
update dml_t set id = 2 where id = 1
update dml_t set id = 201 where id = 2 returning id
update dml_t set id = 2 where id = 201
update dml_t set id = null where id = 2
update dml_t set nosuch = 1 where id = 1
update dml_t set n = 1, n = 2 where id = 1
update dml_t set n = 'x' where id = 1
update dml_t set n = true where id = 1
update dml_t set n = 99999999999 where id = 1
update nosuch set n = 1
update dml_t set n = 3 where id in (1, 2) 
update dml_t set n = 4 where id > 20
update dml_t set n = 5 where t = 'a'
update dml_t set n = 6 where id between 20 and 21 returning id
update dml_t set n = 7
update dml_t x set n = 8 where x.id = 1 returning x.n
update dml_t set n = s.m from (values (1, 77)) s(i, m) where id = s.i returning n, s.m
update dml_t set n = (select count(*) from dml_t) where id = 1
update dml_t set t = t || '!' where id = 1 and n > 100
update only dml_t set n = 9 where id = 1
update dml_t set dml_t.n = 1 where id = 1
update dml_t set n = sum(1) where id = 1
update dml_t set n = 1 where current of c
select id, n, t from dml_t where id < 10 order by id
delete from dml_t where id = 999
delete from dml_t where id = 1 returning *
delete from dml_t where id in (2, 3) 
delete from dml_t where id > 40 returning id
delete from dml_t where t = 'k'
delete from dml_t x where x.id = 20
delete from dml_t using (values (21)) s(i) where id = s.i
delete from dml_t where nosuch = 1
delete from nosuch
delete dml_t
delete from dml_t where id = (select min(id) from dml_t)
delete from dml_t where exists (select 1)
delete from dml_t
select count(*) from dml_t
truncate dml_t
truncate table dml_t, dml_n
truncate nosuch
truncate dml_t restart identity cascade
insert into dml_d (id, e) values (1, true) returning id, a, b, e
insert into dml_d (id) values (2)
insert into dml_d values (3, null, null, null, true)
insert into dml_d values (3, null, default, null, true) returning *
insert into dml_d (id, b, e) values (4, '', false) returning b = '', c is not null
update dml_d set b = null where id = 1
update dml_d set a = default, b = default where id = 4 returning a, b
select id, a, b, e, c = now() from dml_d order by id
insert into dml_n (k, v) values ('a', 'abcd')
insert into dml_n (k, v) values ('a', 'abc   ')
insert into dml_n (k, w) values ('b', 999.96)
insert into dml_n (k, w) values ('c', 99.96) returning w
insert into dml_n (k, w) values ('d', 1000)
insert into dml_n (k, f) values ('e', 0.1), ('f', 1e39)
insert into dml_n (k, f) values ('g', 0.1) returning f, f = 0.1, f = 0.1::float4
insert into dml_n (k, u) values ('h', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11') returning u
insert into dml_n (k, u) values ('i', 'x')
insert into dml_n (k, j) values ('j', '{"b":1,"a":[1,2]}') returning j, j -> 'a', j ->> 'b'
insert into dml_n (k, j) values ('k', '{bad')
insert into dml_n (k, y) values ('l', '\xdead') returning y
insert into dml_n (k, d) values ('m', '2024-02-30')
insert into dml_n (k, d) values ('n', '2024-02-29') returning d, d + 1
insert into dml_n (k, y) values ('o', 'abc'::text)
insert into dml_n (k, j) values ('p', '{}'::json)
insert into dml_n (k, v) values ('q', 123)
insert into dml_n (k, w) values ('r', '1.25') returning w
insert into dml_n (k, d) values ('s', now()) returning d = current_date
select k, v, w, f, u, j, y, d from dml_n order by k
update dml_n set j = jsonb_set(j, '{a,0}', '9') where k = 'j' returning j
update dml_n set j = j || '{"z":1}' where k = 'j' returning j
update dml_n set y = y || '\xff'::bytea where k = 'l' returning y
update dml_n set v = 'toolong' where k = 'a'
select k from dml_n where j @> '{"b":1}' order by k
select k from dml_n where j ->> 'b' = '1' order by k
merge into dml_t using (values (1, 1)) s(i, m) on id = s.i when matched then update set n = m when not matched then insert values (i, m)
copy dml_t from stdin
> 501	1	abc
> 502	\N	a\tb\\c
> 503	3	\N
copy dml_t to stdout
copy dml_t (id, t) to stdout with (format csv, header)
copy dml_t from stdin with (format csv)
> 601,1,"a,b"
> 602,,"say ""hi"""
> 603,3,
copy (select id, t from dml_t where id > 600 order by id) to stdout with (format csv)
copy dml_t to stdout (format csv, delimiter ';', null 'NULL', force_quote *)
copy dml_t (id) from stdin
> 701
copy dml_t from stdin
> x	1	a
copy dml_t from stdin
> 702	1
copy dml_t from stdin
> 702	1	a	b
copy dml_t from stdin
> 501	1	dup
copy dml_t from stdin (format csv, header match)
> id,n,t
> 801,1,x
copy dml_t from stdin (format csv, header)
> a,b,c
> 802,1,x
copy dml_t from stdin (format csv, null 'NIL', delimiter '|')
> 803|NIL|x
copy dml_t from stdin (format csv, quote '''', escape '\')
> 804,1,'a\'b'
copy dml_t from stdin where id > 900
> 901	1	a
> 899	1	a
copy dml_t from stdin (format nosuch)
copy dml_t from stdin (delimiter 'ab')
copy dml_t from stdin (nosuch 1)
copy nosuch from stdin
copy dml_t (nosuch) to stdout
copy dml_t to stdout csv header
copy (select 1, 'a', null) to stdout
copy (select 1, 'a', null) to stdout (format csv)
copy (select E'a\tb\n\\', '\x01'::bytea, true, 1.50, array[1,null]) to stdout
copy (values (1, 'x'), (2, null)) to stdout with csv null 'N'
copy (select 1) from stdin
copy dml_t from '/nonexistent'
copy dml_t from stdin (freeze on)
> 902	1	a
copy dml_t to stdout (format binary)
copy (delete from dml_t where id = 902 returning id) to stdout
select id, n, t from dml_t where id > 500 order by id
drop table dml_t, dml_d, dml_n
