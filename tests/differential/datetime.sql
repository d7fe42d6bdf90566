@each select '{v}'::{t}
@ v: 2024-02-29 ;; 2023-02-29 ;; 20240229 ;; Jan 5 2024 ;; 5 January 2024 ;; 1/5/2024 ;; 2024-1-5 ;; 99-01-08 ;; 2024-02-29 13:14:15.678901 ;; 2024-02-29T13:14:15Z ;; 20240101T010203Z ;; 2024-02-29 24:00:00 ;; 2024-02-29 25:00 ;; 2024-02-29 10:00 PM ;; 2024-02-29 13:14:15+02 ;; 2024-02-29 13:14:15 -03:30 ;; 2024-02-29 13:14:15 UTC ;; 2024-07-01 12:00 Europe/Berlin ;; 2024-07-01 12:00 EST ;; 2024-07-01 12:00 Nowhere/Town ;; infinity ;; -infinity ;; epoch ;; 0044-03-15 BC ;; 0001-01-01 ;; 0000-01-01 ;; 294276-12-31 ;; 294277-01-01 ;; 5874897-12-31 ;; 4714-11-24 BC ;; J2451187 ;; 2024.060 ;;  2024-02-29  ;;  ;; abc ;; 2024-13-01 ;; 2024-02-29 12:60 ;; 2024-02-29 12:59:60 ;; Fri Jan 05 10:00:00 2024 ;; 2024-02-29 +00 ;; 12:30 ;; allballs ;; 2024-02-29 12:30:45.1234567
@ t: date ;; timestamp ;; timestamptz
@each select '{v}'::{t}
@ v: 12:30 ;; 12:30:45.5 ;; 04:05 PM ;; 040506 ;; 24:00 ;; 24:00:01 ;; 23:59:60 ;; 12:30+02 ;; 12:30:15.123456789 ;; allballs ;; abc ;; 2024-01-01 12:30 ;; T10:00 ;; 25:00
@ t: time ;; timetz ;; time(1) ;; interval
@each select '{v}'::interval
@ v: 1 day ;; 1 year 2 mons 3 days 04:05:06.789 ;; 1-2 ;; 1 2:03:04 ;; -1 day ;; 1 day ago ;; @ 1 hour ;; P1Y2M3DT4H5M6S ;; P0001-02-03T04:05:06 ;; 1.5 days ;; 1.5 months ;; 0.5 year ;; 1 week ;; 2 decades ;; 1 century ;; 1 millennium ;; 100 ;; 90 minutes ;; 1 day -1 hour ;; -1-2 ;; 1h 30m ;; 3 microseconds ;; 5 milliseconds ;; 36:00 ;; 1 month 40 days ;; x ;;  ;; 178000000 years ;; 999999999999 days ;; infinity ;; PT36H ;; P1W ;; 1 day 1 day ;; 00:00:00 ;; -00:00:01.5 ;; 1 mon -1 day 1 hour
@each select {a} {op} {b}
@ a: date '2024-01-31' ;; timestamp '2024-01-31 10:00' ;; timestamptz '2024-01-31 10:00+00' ;; interval '1 mon 2 days 03:00' ;; time '10:00'
@ op: + ;; -
@ b: interval '1 month' ;; interval '1 day 2 hours' ;; 1 ;; date '2024-01-01' ;; timestamp '2024-01-01' ;; timestamptz '2024-01-01 00:00+00' ;; time '01:30' ;; '1 day'
@each select {a} {op}
@ a: interval '1 mon 15 days 03:30'
@ op: * 2 ;; * 1.5 ;; / 2 ;; / 0 ;; * -1 ;; > interval '45 days' ;; = interval '45 days 03:30' ;; < '1 day' ;; * '2' ;; + '1 day' ;; % 2 ;; / 2.5::float8
@each select extract({f} from {v})
@ f: year ;; month ;; day ;; hour ;; minute ;; second ;; dow ;; isodow ;; doy ;; week ;; isoyear ;; quarter ;; epoch ;; century ;; decade ;; millennium ;; milliseconds ;; microseconds ;; julian ;; timezone ;; timezone_hour ;; nosuch
@ v: timestamp '2024-02-29 13:14:15.678901' ;; date '2024-12-30' ;; timestamptz '2000-01-01 00:00:00+00' ;; interval '1 year 2 mons 3 days 04:05:06.5' ;; time '13:14:15.5'
@each select date_part('{f}', timestamp '2024-02-29 13:14:15.5')
@ f: year ;; epoch ;; second ;; dow ;; DAY ;; nosuch
@each select date_trunc('{f}', {v})
@ f: microseconds ;; milliseconds ;; second ;; minute ;; hour ;; day ;; week ;; month ;; quarter ;; year ;; decade ;; century ;; millennium ;; nosuch
@ v: timestamp '2024-08-29 13:14:15.678901' ;; timestamptz '2024-08-29 13:14:15+00' ;; interval '5 years 4 mons 3 days 02:01:00' ;; date '2024-08-29'
@each select to_char({v}, '{f}')
@ v: timestamp '2024-02-09 13:04:05.678901' ;; timestamptz '2024-02-09 13:04:05+00' ;; interval '1 year 15 days 13:04:05'
@ f: YYYY-MM-DD HH24:MI:SS ;; YY Y YYY Y,YYY ;; Mon DD, YYYY ;; FMMonth FMDD ;; DAY Day day Dy ;; HH:MI AM ;; hh12 p.m. ;; MS US ;; FF3 FF6 ;; D ID DDD IDDD ;; WW IW IYYY ;; Q CC J ;; SSSS ;; TZ OF ;; RM ;; DDth ;; "year" YYYY ;; BC AD ;; month MONTH
@each select {e}
@ e: to_date('2024-02-29', 'YYYY-MM-DD') ;; to_date('29 Feb 2024', 'DD Mon YYYY') ;; to_date('20240229', 'YYYYMMDD') ;; to_date('2024-02-30', 'YYYY-MM-DD') ;; to_date('x', 'YYYY') ;; to_timestamp('2024-02-29 13:14:15', 'YYYY-MM-DD HH24:MI:SS') ;; to_timestamp('13:14', 'HH24:MI') is null ;; to_timestamp(0) ;; to_timestamp(1700000000.5) ;; to_timestamp('nan') ;; to_timestamp('2024', 'YYYY') ;; age(timestamp '2024-03-01', timestamp '2023-01-31') ;; age(date '2024-03-01', date '2024-02-29') ;; age(timestamptz '2024-03-01 00:00+00', timestamptz '2020-02-29 00:00+00') ;; make_date(2024, 2, 29) ;; make_date(2023, 2, 29) ;; make_date(-44, 3, 15) ;; make_time(8, 15, 23.5) ;; make_timestamp(2024, 2, 29, 13, 14, 15.5) ;; make_timestamptz(2024, 2, 29, 13, 14, 15.5) ;; make_interval(days => 10) ;; make_interval(1, 2, 3, 4, 5, 6, 7.5) ;; justify_days(interval '35 days') ;; justify_hours(interval '27 hours') ;; justify_interval(interval '1 mon -1 hour') ;; isfinite(date '2024-01-01') ;; isfinite(timestamp 'infinity') ;; isfinite(interval '1 day') ;; date_bin('15 minutes', timestamp '2024-02-29 13:14:15', timestamp '2001-01-01') ;; date_bin('0 s', timestamp '2024-02-29', timestamp '2001-01-01') ;; (date '2024-01-01', date '2024-02-01') overlaps (date '2024-01-15', date '2024-03-01') ;; (date '2024-01-01', interval '1 day') overlaps (date '2024-01-02', interval '1 day') ;; timestamp '2024-07-01 12:00' at time zone 'UTC' ;; timestamp '2024-07-01 12:00' at time zone 'America/New_York' ;; timestamptz '2024-07-01 12:00+00' at time zone 'Europe/Berlin' ;; timestamptz '2024-01-01 12:00+00' at time zone '+03' ;; timestamp '2024-07-01 12:00' at time zone 'PST' ;; timestamptz '2024-01-01 12:00+00' at time zone interval '2 hours' ;; timestamp '2024-01-01' at time zone 'Nowhere' ;; time '12:00' at time zone 'UTC' ;; timezone('Asia/Kolkata', timestamptz '2024-01-01 00:00+00') ;; timestamp '2024-03-31 02:30' at time zone 'Europe/Berlin' ;; timestamp '2024-10-27 02:30' at time zone 'Europe/Berlin' ;; now() = current_timestamp ;; now() = transaction_timestamp() ;; clock_timestamp() >= now() ;; statement_timestamp() >= now() ;; current_date = now()::date ;; localtimestamp = now()::timestamp ;; pg_typeof(current_timestamp(0)) ;; pg_typeof(timeofday()) ;; now()::date = 'today' ;; 'tomorrow'::date - 'today'::date ;; 'yesterday'::date - current_date ;; 'now'::timestamptz = now() ;; date '2024-02-29' + interval '1 year' ;; date '2024-01-31' + interval '1 month' ;; date '2024-01-01' + time '10:00' ;; date '2024-03-01' - 1 ;; date 'infinity' + 1 ;; date 'infinity' - date '2024-01-01' ;; timestamp 'infinity' - timestamp '2024-01-01' ;; timestamp '2024-01-01' + '1 day' ;; date '2024-01-01'::timestamp ;; timestamp '2024-01-01 23:59:59.9'::date ;; timestamptz '2024-01-01 10:00+05'::timestamp ;; timestamp '2024-01-01 10:00'::timestamptz ;; timestamp '2024-01-01 10:11:12'::time ;; interval '25 hours'::time ;; time '10:00'::interval ;; timestamp(0) '2024-01-01 00:00:00.5' ;; timestamp(3) '2024-01-01 00:00:00.123456' ;; timestamptz(7) '2024-01-01' ;; interval '1 day 10:00'::text ;; interval '1.123456789 seconds' ;; interval(2) '1.126 s' ;; interval '1 year' hour ;; interval '1 12:30' day to minute ;; date '2024-01-01'::text ;; timestamptz '2024-01-01 00:00:00.100+00'::text ;; date '0044-03-15 BC'::text ;; date '10000-01-01' ;; timestamp '2024-01-01' < date '2024-01-02' ;; date '2024-01-01' = timestamptz '2024-01-01 00:00+00' ;; interval '1 day' = interval '24 hours' ;; interval '30 days' = interval '1 month' ;; time '10:00' < time '11:00' ;; time '23:00' + interval '2 hours' ;; time '10:00' - time '11:30' ;; timetz '10:00+02' = timetz '09:00+01' ;; min(x) from (values (date '2024-01-02'), (date '2024-01-01')) t(x) ;; avg(x) from (values (interval '1 day'), (interval '2 days')) t(x) ;; sum(x) from (values (interval '1 day'), (interval '2:00')) t(x) ;; max(x) from (values (timestamp '2024-01-02'), (null)) t(x) ;; date '2024-01-01' + 1.5 ;; date '2024-01-01' * 2 ;; now() + 1 ;; timestamp '2024-01-01' - interval '1 month 1 day' ;; extract(epoch from interval '1 year') ;; extract(epoch from timestamptz '1970-01-02 00:00+00') ;; extract(year from 'infinity'::timestamp) ;; extract(day from '-infinity'::date) ;; extract(century from date '0001-01-01 BC') ;; date_part('day', interval '35 days') ;; date_part('hour', date '2024-01-01') ;; extract(hour from date '2024-01-01')
@each select * from generate_series({a})
@ a: date '2024-01-01', date '2024-01-03', interval '1 day' ;; timestamp '2024-01-31', timestamp '2024-04-01', interval '1 month' ;; timestamptz '2024-01-01 00:00+00', timestamptz '2024-01-01 02:00+00', '1 hour' ;; timestamp '2024-01-03', timestamp '2024-01-01', '-1 day' ;; timestamp '2024-01-01', timestamp '2024-01-02', '0 day' ;; 1, 3 ;; 3, 1 ;; 3, 1, -1 ;; 1, 10, 4 ;; 1, 3, 0 ;; 1.0, 2.0, 0.5 ;; 1, null ;; 1::int8, 2
set timezone = 'America/New_York'
show timezone
select timestamptz '2024-07-01 12:00+00'
select timestamptz '2024-01-01 12:00'
select timestamptz '2024-03-10 02:30'
select timestamptz '2024-11-03 01:30'
select timestamp '2024-07-01 12:00'::timestamptz
select timestamptz '2024-07-01 12:00+00'::timestamp
select timestamptz '2024-07-01 03:00+00'::date
select date '2024-07-01'::timestamptz
select extract(hour from timestamptz '2024-07-01 12:00+00'), extract(timezone from timestamptz '2024-07-01 12:00+00')
select date_trunc('day', timestamptz '2024-07-01 03:00+00')
select date_trunc('day', timestamptz '2024-07-01 03:00+00', 'Asia/Tokyo')
select timestamptz '2024-03-09 12:00' + interval '1 day', timestamptz '2024-03-09 12:00' + interval '24 hours'
select to_char(timestamptz '2024-07-01 12:00+00', 'HH24:MI TZ OF')
set timezone = '+05:30'
select timestamptz '2024-07-01 12:00+00'
set timezone = 'nosuch'
set time zone interval '2 hours'
select timestamptz '2024-07-01 12:00+00'
set time zone local
set time zone 3
show timezone
reset timezone
set datestyle = 'German'
select date '2024-02-29', timestamp '2024-02-29 10:00'
set datestyle = 'SQL, DMY'
select date '2024-02-29', '1/2/2024'::date
set datestyle = 'ISO, MDY'
set datestyle = 'nosuch'
set intervalstyle = 'iso_8601'
select interval '1 year 2 days 3 hours'
set intervalstyle = 'postgres_verbose'
select interval '1 year -2 days 3 hours'
set intervalstyle = 'sql_standard'
select interval '1 year 2 days 3 hours'
reset intervalstyle
