-- Literals of each kind as each type.
@each select {v}::{t}
@ v: 1 ;; 1.5 ;; '7' ;; 'abc' ;; true ;; null
@ t: int2 ;; int4 ;; int8 ;; float4 ;; float8 ;; numeric ;; numeric(5,2) ;; bool ;; text ;; varchar(2) ;; char(3) ;; name ;; bytea ;; date ;; time ;; timestamp ;; timestamptz ;; interval ;; uuid ;; json ;; jsonb ;; oid ;; int4[] ;; text[]
@each select cast({v} as {t})
@ v: -1.5 ;; 99999 ;; 1e10 ;; 'NaN' ;; ' 12 ' ;; ''
@ t: int2 ;; int4 ;; int8 ;; real ;; double precision ;; numeric ;; numeric(4,1) ;; boolean ;; text ;; varchar(4) ;; character(5)
@each select '{v}'::bool
@ v: t ;; true ;; y ;; yes ;; on ;; 1 ;; f ;; false ;; n ;; no ;; off ;; 0 ;; tr ;; TRUE ;; o ;; of ;; 2 ;; maybe
@each select '{v}'::int4
@ v: 0 ;; -0 ;; +7 ;; 007 ;; 2147483647 ;; 2147483648 ;; -2147483648 ;; -2147483649 ;; 1.0 ;; 0x10 ;; 1_000 ;; 1e3 ;; - 5 ;; 5- ;; NaN
@each select '{v}'::{t}
@ v: 1e308 ;; 1e309 ;; 1e-400 ;; -inf ;; infinity ;; Infinity ;; nan ;; .5 ;; 5. ;; 1e ;; e5 ;; 123456789.123456789
@ t: float8 ;; float4 ;; numeric ;; numeric(10,3)
@each select {v}::{t}::text
@ v: 0.1 ;; 1234567.8 ;; 1e20 ;; 1e-7 ;; 123456789012345678 ;; -0.0 ;; 33.3333333333333333 ;; 100
@ t: float4 ;; float8 ;; numeric ;; numeric(30,10) ;; int8
@each select {v}::{t}
@ v: 0.5 ;; 1.5 ;; 2.5 ;; -0.5 ;; -1.5 ;; 2.5::float8 ;; 1.5::float8 ;; -2.5::float8 ;; 2.5::float4 ;; 32767.5 ;; 2147483647.5::float8 ;; 9e18::float8 ;; 1e19::float8 ;; 'NaN'::float8 ;; 'NaN'::numeric
@ t: int2 ;; int4 ;; int8
@each select {v}
@ v: int4 '5' ;; text 'a' ;; date '2024-02-29' ;; timestamp '2024-02-29 12:00' ;; interval '1 day' ;; bool 't' ;; numeric '1.50' ;; float8 '1.5' ;; bytea '\x01' ;; uuid 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11' ;; json '{"a":1}' ;; jsonb '{"a": 1}' ;; time '12:30' ;; bit '101' ;; varchar 'x' ;; "char" 'x' ;; name 'x' ;; oid '12' ;; regclass 'pg_class' ;; regtype 'int4' ;; point '(1,2)' ;; inet '127.0.0.1' ;; cidr '10.0.0.0/8' ;; money '1.5' ;; xml '<a/>' ;; int4range '[1,5)' ;; tsvector 'a b'
@each select pg_typeof({v})
@ v: 1 ;; 3000000000 ;; 1.5 ;; 1e5 ;; 'a' ;; null ;; true ;; '{}'::int[] ;; array[1,2] ;; array[1,2.5] ;; row(1,2) ;; now() ;; current_date ;; current_time ;; localtime ;; localtimestamp ;; current_user ;; 1::int2 ;; 1::float4 ;; '1 day'::interval ;; 'x'::varchar(3) ;; 'x'::char(3) ;; 'x'::name ;; 1 + 1.5 ;; 1 / 2 ;; 1::int2 + 1::int2 ;; 1::int2 + 1 ;; 1 + 1::int8 ;; 1.5 + 1::float4 ;; 1::float4 + 1::float8 ;; 'a' || 'b' ;; coalesce(1, 2.5) ;; case when true then 1 else 2.5 end ;; greatest(1, 2.0) ;; nullif(1, 2) ;; 99999999999999999999 ;; current_schema ;; version()
@each select {a}::{t}
@ a: 'pg_catalog.pg_class' ;; 'pg_class' ;; 'nosuch' ;; '"PG_CLASS"' ;; '0' ;; 1259
@ t: regclass
@each select {a}::regtype
@ a: 'integer' ;; 'int' ;; 'character varying' ;; 'varchar(3)' ;; 'timestamp with time zone' ;; 'timestamptz(3)' ;; 'int4[]' ;; 'nosuch' ;; 23 ;; '23' ;; 'pg_catalog.int8' ;; 'double precision' ;; '"char"'
@each select {a}::regproc
@ a: 'now' ;; 'nosuch' ;; 'pg_catalog.now'
@each select '{a}'::regnamespace
@ a: public ;; pg_catalog ;; nosuch
@each select {a}::"char"
@ a: 'abc' ;; '' ;; 65 ;; 'a'::text
@each select '{a}'::uuid
@ a: A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11 ;; {a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11} ;; a0eebc999c0b4ef8bb6d6bb9bd380a11 ;; a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11 ;; a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1 ;; x
@each select {a}::bytea
@ a: '\xDEADbeef' ;; '\x0' ;; '\xzz' ;; 'abc' ;; 'a\\b' ;; '\001\377' ;; '\9' ;; 'é' ;; ''
@each select '{a}'::varchar({n})
@ a: abc ;; é ;; abc   
@ n: 1 ;; 2 ;; 3 ;; 0
@each select '{a}'::char({n}) || '|'
@ a: ab ;; abcd ;; a 
@ n: 2 ;; 4
@each select {a}
@ a: 'ab'::char(4) = 'ab' ;; 'ab '::char(4) = 'ab'::text ;; length('ab'::char(4)) ;; octet_length('ab'::char(4)) ;; 'ab'::char(4)::text || 'x' ;; 'a'::char || 'b' ;; 'abc'::char ;; 'ab'::bpchar ;; 'x'::varchar = 'x'::text ;; 'a'::name = 'a' ;; 'a'::name || 'b' ;; length('a'::name)
@each select {v}::numeric({p})
@ v: 123.456 ;; 0.005 ;; -99.995 ;; 1e5
@ p: 5 ;; 5,2 ;; 3,3 ;; 7,-2 ;; 2,5 ;; 1001 ;; 0
