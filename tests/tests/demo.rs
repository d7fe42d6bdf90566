//! One process, three nodes, embedded coordination: the word list, `psql` and a crash.

use spinnaker_tests::cluster::Cluster;
use spinnaker_tests::cluster::demo::Demo;
use spinnaker_tests::story;

#[test]
fn the_word_list_survives_a_crash_without_an_error() {
    let words = story::Words::load();
    let mut demo = Demo::start(None);
    story::load_words(&mut demo, &words);
    story::upsert_some(&demo);
    story::crash_and_come_back(&mut demo, &words);
    demo.quit();
}

#[test]
fn a_given_directory_keeps_the_data() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(Some(dir.path()));
    demo.gateway(1)
        .must("CREATE TABLE t (k text PRIMARY KEY, v int4); UPSERT INTO t (k, v) VALUES ('a', 1);");
    demo.quit();
    let demo = Demo::start(Some(dir.path()));
    assert_eq!(demo.gateway(2).must("SELECT v FROM t WHERE k = 'a';"), "1");
}
