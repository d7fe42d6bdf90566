create table cl_t (id int4 primary key, name text not null default 'x', n numeric(8,2), at timestamptz default now())
create table cl_k (a text, b int8, v jsonb, primary key (a, b))
insert into cl_t (id, name, n) values (1, 'one', 1.5), (2, 'two', null)
\d
\d cl_t
\d+ cl_t
\d cl_k
\d cl_t_pkey
\d nosuch
\d pg_class
\dt
\dt+
\dt *.*
\dt cl_*
\di
\di+
\dv
\dm
\ds
\dE
\dn
\dn+
\du
\du+
\dg
\l
\l+
\df
\df+
\da
\do
\dT
\dT+
\dC
\dc
! \dd
\dD
\db
\db+
\dO
\dp
\z
\ddp
\drds
\dRp
\dRs
\dx
\dx+
\dy
\des
\det
\deu
\dew
\dF
\dFd
\dFp
\dFt
! \dL
\dA
\dA+
! \dAc
! \dAf
! \dAo
! \dAp
\dl
\dconfig
\dconfig timezone
\dP
! \dX
! \sf now
\conninfo
\encoding
\timing on
\timing off
\x on
select * from cl_t order by id
\x off
\gdesc
select 1 as a, 'x' as b \gdesc
select 1 as one \gset
\echo :one
select 'select 1' \gexec
select 5 \g
\set ECHO_HIDDEN off
\copy cl_t (id, name) to stdout
drop table cl_t, cl_k
