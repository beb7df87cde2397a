#include "server/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "server/flags.h"

namespace conclave::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

using Arguments = std::vector<std::string>;

Config parsed(const Arguments& arguments, const Environment& environment = {}) {
  auto config = parse_config(arguments, environment);
  if (config) return *config;
  ADD_FAILURE() << config.error().message;
  return {};
}

std::string refused(const Arguments& arguments, const Environment& environment = {}) {
  const auto config = parse_config(arguments, environment);
  if (config) return "accepted";
  EXPECT_EQ(config.error().code, ErrorCode::kInvalid);
  return config.error().message;
}

TEST(Config, DefaultsAreEtcds) {
  const Config config = parsed({});
  EXPECT_EQ(config.name, "default");
  EXPECT_EQ(config.data_dir, "default.conclave");
  EXPECT_EQ(join(config.listen_client_urls), "http://localhost:2379");
  EXPECT_EQ(join(config.advertise_client_urls), "http://localhost:2379");
  EXPECT_EQ(join(config.listen_peer_urls), "http://localhost:2380");
  EXPECT_EQ(join(config.initial_advertise_peer_urls), "http://localhost:2380");
  EXPECT_THAT(config.initial_cluster, SizeIs(1));
  EXPECT_EQ(join(config.initial_cluster.at("default")), "http://localhost:2380");
  EXPECT_EQ(config.initial_cluster_state, Config::ClusterState::kNew);
  EXPECT_EQ(config.initial_cluster_token, "etcd-cluster");
  EXPECT_EQ(config.heartbeat_interval, milliseconds(100));
  EXPECT_EQ(config.election_timeout, seconds(1));
  EXPECT_EQ(config.snapshot_count, 0U);
  EXPECT_EQ(config.quota_backend_bytes, 0);
  EXPECT_EQ(config.max_request_bytes, 1'572'864U);
  EXPECT_EQ(config.max_txn_ops, 128U);
  EXPECT_EQ(config.auto_compaction.mode, AutoCompaction::Mode::kOff);
  EXPECT_EQ(config.auth_token, "simple");
  EXPECT_EQ(config.auth_token_ttl, seconds(300));
  EXPECT_EQ(config.bcrypt_cost, 10U);
  EXPECT_EQ(config.log_level, LogLevel::kInfo);
  EXPECT_THAT(config.warnings, IsEmpty());
}

// The first member of the cluster in etcd's own Procfile.
TEST(Config, AnEtcdCommandLineWorks) {
  const Config config = parsed({"--name",
                                "infra1",
                                "--listen-client-urls",
                                "http://127.0.0.1:2379",
                                "--advertise-client-urls",
                                "http://127.0.0.1:2379",
                                "--listen-peer-urls",
                                "http://127.0.0.1:12380",
                                "--initial-advertise-peer-urls",
                                "http://127.0.0.1:12380",
                                "--initial-cluster-token",
                                "etcd-cluster-1",
                                "--initial-cluster",
                                "infra1=http://127.0.0.1:12380,infra2=http://127.0.0.1:22380,"
                                "infra3=http://127.0.0.1:32380",
                                "--initial-cluster-state",
                                "new",
                                "--enable-pprof=false",
                                "--logger=zap",
                                "--log-outputs=stderr",
                                "--enable-v2=false",
                                "--strict-reconfig-check"});
  EXPECT_EQ(config.name, "infra1");
  EXPECT_EQ(config.data_dir, "infra1.conclave");
  EXPECT_THAT(config.initial_cluster, SizeIs(3));
  EXPECT_EQ(config.initial_cluster_token, "etcd-cluster-1");
  EXPECT_THAT(config.warnings, IsEmpty());
}

TEST(Config, FlagsAreWrittenAsGoAllows) {
  EXPECT_EQ(parsed({"-name=x"}).name, "x");
  EXPECT_EQ(parsed({"--name=x"}).name, "x");
  EXPECT_EQ(parsed({"-name", "x"}).name, "x");
  EXPECT_EQ(parsed({"--name", "x", "--name", "y"}).name, "y");
  EXPECT_EQ(parsed({"--debug"}).log_level, LogLevel::kDebug);
  EXPECT_EQ(parsed({"--debug=false"}).log_level, LogLevel::kInfo);
  EXPECT_EQ(refused({"--debug", "false"}), "\"false\" is not a flag");
  EXPECT_EQ(refused({"name"}), "\"name\" is not a flag");
  EXPECT_EQ(refused({"--name"}), "--name needs a value");
}

TEST(Config, UnknownFlagsSuggestTheNearest) {
  EXPECT_EQ(refused({"--data-dri=x"}), "unknown flag --data-dri (did you mean --data-dir?)");
  EXPECT_EQ(refused({"--listen-client-url", "x"}),
            "unknown flag --listen-client-url (did you mean --listen-client-urls?)");
  EXPECT_EQ(refused({"--qqqqqq"}), "unknown flag --qqqqqq");
}

TEST(Config, FlagsWinOverOurVariablesAndTheseOverEtcds) {
  const Environment environment{{"ETCD_NAME", "etcd"},      {"CONCLAVE_NAME", "ours"},
                                {"ETCD_DATA_DIR", "/d"},    {"ETCD_SNAPSHOT_COUNT", ""},
                                {"ETCDCTL_API", "3"},       {"PATH", "/bin"},
                                {"ETCD_LOG_LEVEL", "error"}};
  const Config config = parsed({"--log-level=warn"}, environment);
  EXPECT_EQ(config.name, "ours");
  EXPECT_EQ(config.data_dir, "/d");
  EXPECT_EQ(config.log_level, LogLevel::kWarn);
  EXPECT_THAT(config.warnings,
              ElementsAre("environment variable ETCD_LOG_LEVEL is ignored: --log-level is given"));
}

TEST(Config, UnknownVariablesAreMentioned) {
  EXPECT_THAT(parsed({}, {{"ETCD_VERSION", "3.4"}, {"ETCD_PORT", "x"}}).warnings,
              ElementsAre("environment variable ETCD_PORT is not known",
                          "environment variable ETCD_VERSION is not known"));
}

TEST(Config, WhatIsNotSupportedIsRefusedByName) {
  EXPECT_EQ(refused({"--discovery=x"}),
            "--discovery is not supported: members are named by --initial-cluster");
  EXPECT_THAT(refused({}, {{"ETCD_WAL_DIR", "/w"}}), HasSubstr("--wal-dir is not supported"));
  EXPECT_THAT(refused({"--force-new-cluster"}), HasSubstr("not supported"));
  EXPECT_EQ(parsed({"--cert-file=", "--client-cert-auth=false", "--cors=*"}).name, "default");
}

TEST(Config, WhatIsHarmlessIsAcceptedWithAWarning) {
  EXPECT_THAT(parsed({"--max-wals", "3", "--enable-v2"}).warnings,
              ElementsAre("--enable-v2 has no effect: the v2 API is not served",
                          "--max-wals has no effect: log files go once a snapshot covers them"));
}

TEST(Config, BadUrlsNameFlagValueAndReason) {
  EXPECT_EQ(refused({"--listen-peer-urls=htp://x:1"}),
            "--listen-peer-urls: \"htp://x:1\": the scheme must be http or https");
  EXPECT_THAT(refused({"--initial-cluster=http://a:1"}), HasSubstr("form name=http"));
}

const Arguments kHttps{"--listen-client-urls=https://a:1", "--advertise-client-urls=https://a:1",
                       "--cert-file=c", "--key-file=k"};

Arguments with(Arguments arguments, const Arguments& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

TEST(Tls, FlagsAreEtcds) {
  const Config config =
      parsed(with(kHttps, {"--trusted-ca-file=a", "--client-crl-file=r",
                           "--client-cert-allowed-hostname=h", "--cipher-suites=X,Y"}));
  EXPECT_EQ(config.client_tls.files.certificate, "c");
  EXPECT_EQ(config.client_tls.files.key, "k");
  EXPECT_EQ(config.client_tls.files.trusted_ca, "a");
  EXPECT_EQ(config.client_tls.files.crl, "r");
  EXPECT_EQ(config.client_tls.allowed_hostname, "h");
  EXPECT_THAT(config.client_tls.cipher_suites, ElementsAre("X", "Y"));
  EXPECT_THAT(config.client_tls.protocols, ElementsAre("http/1.1", "h2"));
  EXPECT_TRUE(config.client_tls.require_certificate);  // an authority is enough, as with etcd
  EXPECT_TRUE(config.listen_client_urls[0].address().tls);
  EXPECT_FALSE(config.listen_peer_urls[0].address().tls);
  EXPECT_FALSE(config.peer_tls.has_certificate());
  EXPECT_THAT(config.warnings, IsEmpty());
  EXPECT_FALSE(parsed(kHttps).client_tls.require_certificate);
  EXPECT_FALSE(config.certificates_name_users);
  const Config demanding = parsed(with(kHttps, {"--trusted-ca-file=a", "--client-cert-auth"}));
  EXPECT_TRUE(demanding.certificates_name_users);
}

TEST(Tls, HttpsNeedsACertificate) {
  EXPECT_EQ(
      refused({"--listen-client-urls=https://a:1", "--advertise-client-urls=https://a:1"}),
      "TLS key/cert (--cert-file, --key-file) must be provided for client url https://a:1 with "
      "HTTPS scheme");
  EXPECT_EQ(refused({"--listen-peer-urls=https://a:1"}),
            "TLS key/cert (--peer-cert-file, --peer-key-file) must be provided for peer url "
            "https://a:1 with HTTPS scheme");
  EXPECT_TRUE(parsed({"--listen-peer-urls=https://a:1", "--peer-auto-tls"}).peer_tls.self_signed);
}

TEST(Tls, WhatProtectsLessThanItSeemsIsSaid) {
  EXPECT_THAT(refused({"--key-file=x"}), HasSubstr("--cert-file: it needs --key-file"));
  EXPECT_THAT(refused({"--peer-cert-allowed-cn=x"}), HasSubstr("it needs --peer-client-cert-auth"));
  EXPECT_THAT(refused({"--client-crl-file=x"}), HasSubstr("it needs --client-cert-auth"));
  EXPECT_THAT(refused({"--peer-client-cert-auth", "--peer-cert-allowed-cn=x",
                       "--peer-cert-allowed-hostname=y"}),
              HasSubstr("there can be only one"));
  EXPECT_THAT(refused({"--auto-tls", "--client-cert-auth"}), HasSubstr("nobody has a certificate"));
  EXPECT_THAT(refused({"--client-cert-auth=maybe"}), HasSubstr("--client-cert-auth"));
  EXPECT_THAT(parsed({"--cert-file=c", "--key-file=k"}).warnings,
              ElementsAre(HasSubstr("http://localhost:2379 is not encrypted")));
  EXPECT_THAT(parsed(with(kHttps, {"--auto-tls"})).warnings,
              ElementsAre("--auto-tls is ignored: a certificate is given"));
}

TEST(Config, ListeningElsewhereNeedsAnAdvertisedUrl) {
  EXPECT_EQ(refused({"--listen-client-urls=http://0.0.0.0:2379"}),
            "--advertise-client-urls is required when --listen-client-urls is set explicitly");
}

TEST(Config, AMemberAloneIsItsOwnCluster) {
  const Config config =
      parsed({"--name=solo", "--initial-advertise-peer-urls=http://b:1,http://a:1"});
  EXPECT_EQ(join(config.initial_cluster.at("solo")), "http://a:1,http://b:1");
}

TEST(Config, TheInitialClusterMustHaveThisMemberAsItSeesItself) {
  EXPECT_EQ(refused({"--name=a", "--initial-cluster=b=http://localhost:2380"}),
            "--initial-cluster: this member's name \"a\" is not in it");
  EXPECT_EQ(refused({"--name=a", "--initial-cluster=a=http://h:1"}),
            "--initial-cluster: it has a=http://h:1, but --initial-advertise-peer-urls is "
            "http://localhost:2380");
  EXPECT_EQ(refused({"--initial-cluster=default=http://localhost:2380,b=http://localhost:2380"}),
            "--initial-cluster: http://localhost:2380 is there twice");
  EXPECT_EQ(parsed({"--initial-cluster=default=http://b:1,default=http://a:1,c=http://c:1",
                    "--initial-advertise-peer-urls=http://a:1,http://b:1"})
                .initial_cluster.size(),
            2U);
}

TEST(Config, ValuesAreChecked) {
  EXPECT_THAT(refused({"--heartbeat-interval=x"}), HasSubstr("--heartbeat-interval: \"x\""));
  EXPECT_THAT(refused({"--heartbeat-interval=0"}), HasSubstr("between 1"));
  EXPECT_THAT(refused({"--heartbeat-interval=300"}), HasSubstr("less than 5 times"));
  EXPECT_THAT(refused({"--election-timeout=50001"}), HasSubstr("more than 50000 ms"));
  EXPECT_THAT(refused({"--initial-cluster-state=old"}), HasSubstr("neither new nor existing"));
  EXPECT_THAT(refused({"--consensus=zab"}), HasSubstr("--consensus: \"zab\" is not known"));
  EXPECT_THAT(refused({"--weights=default"}), HasSubstr("does not have the form name=weight"));
  EXPECT_THAT(refused({"--weights=default=0"}), HasSubstr("with a weight from 1 to 1000"));
  EXPECT_THAT(refused({"--weights=default=2,default=1"}), HasSubstr("is there twice"));
  EXPECT_THAT(refused({"--witnesses=default,default"}), HasSubstr("is there twice"));
  EXPECT_THAT(refused({"--witnesses=default,"}), HasSubstr("a name is missing"));
  EXPECT_THAT(refused({"--write-quorum=some"}), HasSubstr("--write-quorum"));
  EXPECT_THAT(refused({"--log-level=loud"}), HasSubstr("\"loud\" is not debug"));
  EXPECT_THAT(refused({"--max-txn-ops=0"}), HasSubstr("--max-txn-ops"));
  EXPECT_THAT(refused({"--quota-backend-bytes=1G"}), HasSubstr("\"1G\""));
  EXPECT_THAT(refused({"--bcrypt-cost=3"}), HasSubstr("--bcrypt-cost"));
  EXPECT_THAT(refused({"--auth-token=jwt"}), HasSubstr("--auth-token"));
  EXPECT_THAT(refused({"--auth-token-ttl=0"}), HasSubstr("--auth-token-ttl"));
  EXPECT_THAT(refused({"--name="}), HasSubstr("--name"));
  EXPECT_THAT(refused({"--name=a=b"}), HasSubstr("--name"));
  EXPECT_EQ(parsed({"--quota-backend-bytes=-1"}).quota_backend_bytes, -1);
}

TEST(Config, ARequestMustFitIntoAFrameBetweenMembers) {
  EXPECT_TRUE(parse_config({"--max-request-bytes", "7340032"}, {}).has_value());
  const auto larger = parse_config({"--max-request-bytes", "10485760"}, {});
  ASSERT_FALSE(larger.has_value());
  EXPECT_NE(larger.error().message.find("--max-request-bytes"), std::string::npos);
  EXPECT_NE(larger.error().message.find("7340032"), std::string::npos);
}

TEST(Config, AutoCompactionIsByAgeOrByRevisions) {
  EXPECT_EQ(parsed({"--auto-compaction-retention=2"}).auto_compaction.period, seconds(7200));
  EXPECT_EQ(parsed({"--auto-compaction-retention=5m"}).auto_compaction.period, seconds(300));
  const auto by_revision =
      parsed({"--auto-compaction-mode=revision", "--auto-compaction-retention=1000"});
  EXPECT_EQ(by_revision.auto_compaction.mode, AutoCompaction::Mode::kRevision);
  EXPECT_EQ(by_revision.auto_compaction.revisions, 1000U);
  EXPECT_THAT(refused({"--auto-compaction-retention=soon"}),
              HasSubstr("--auto-compaction-retention"));
  EXPECT_THAT(refused({"--auto-compaction-mode=x"}), HasSubstr("neither periodic nor revision"));
}

TEST(Config, HelpAndVersionComeBeforeEverythingElse) {
  EXPECT_EQ(parsed({"--help"}, {{"ETCD_CERT_FILE", "x"}}).wanted, Config::Wanted::kHelp);
  EXPECT_EQ(parsed({"-h"}).wanted, Config::Wanted::kHelp);
  EXPECT_EQ(parsed({"--version"}).wanted, Config::Wanted::kVersion);
}

TEST(Config, HelpHasEveryFlag) {
  const std::string help = serve_help();
  for (const Flag& flag : all_flags()) {
    EXPECT_THAT(help, HasSubstr("--" + std::string(flag.name)));
  }
}

class ConfigFile : public testing::Test {
 protected:
  ~ConfigFile() override { std::filesystem::remove(path_); }
  Arguments written(const std::string& yaml) {
    std::ofstream(path_) << yaml;
    return {"--config-file", path_};
  }
  std::string path_ = testing::TempDir() + "conclave-config-test.yml";
};

// The keys of etcd's sample file.
TEST_F(ConfigFile, HasEtcdsKeys) {
  const Config config = parsed(written(R"(# comment
name: 'infra1'
data-dir: /var/lib/x
wal-dir:
snapshot-count: 10000
heartbeat-interval: 50
listen-client-urls: http://10.0.0.1:2379,http://127.0.0.1:2379
advertise-client-urls: [http://10.0.0.1:2379]
cors:
discovery-fallback: 'proxy'
initial-cluster-state: 'existing'
strict-reconfig-check: false
enable-v2: true
proxy: 'off'
client-transport-security:
  cert-file:
  client-cert-auth: false
peer-transport-security:
log-level: debug
log-outputs: [stderr]
)"));
  EXPECT_EQ(config.name, "infra1");
  EXPECT_EQ(config.data_dir, "/var/lib/x");
  EXPECT_EQ(config.snapshot_count, 10'000U);
  EXPECT_EQ(config.heartbeat_interval, milliseconds(50));
  EXPECT_THAT(config.listen_client_urls, SizeIs(2));
  EXPECT_EQ(join(config.advertise_client_urls), "http://10.0.0.1:2379");
  EXPECT_EQ(config.initial_cluster_state, Config::ClusterState::kExisting);
  EXPECT_EQ(config.log_level, LogLevel::kDebug);
  EXPECT_FALSE(config.strict_reconfig_check);
  EXPECT_THAT(config.warnings, SizeIs(1));
}

TEST_F(ConfigFile, StandsAlone) {
  Arguments arguments = written("data-dir: /d\n");
  arguments.push_back("--name=ignored");
  const Config config = parsed(arguments, {{"ETCD_NAME", "ignored too"}});
  EXPECT_EQ(config.name, "default");
  EXPECT_THAT(config.warnings, ElementsAre("--config-file is given: all other flags are ignored"));
  EXPECT_EQ(parsed({}, {{"ETCD_CONFIG_FILE", path_}}).data_dir, "/d");
}

TEST_F(ConfigFile, ErrorsNameTheFile) {
  EXPECT_EQ(refused({"--config-file=/no/such/file"}),
            "configuration file /no/such/file: cannot be read");
  EXPECT_THAT(refused(written("name: [")), HasSubstr("configuration file " + path_));
  EXPECT_THAT(refused(written("- a\n- b\n")), HasSubstr("keys and values are expected"));
  EXPECT_THAT(refused(written("nam: x\n")), HasSubstr("unknown key nam in " + path_));
  EXPECT_THAT(refused(written("name: {a: b}\n")), HasSubstr("name must be a value"));
  EXPECT_THAT(refused(written("log-level: loud\n")), HasSubstr("log-level in " + path_));
  EXPECT_EQ(refused(written("peer-transport-security: {cert-file: x}\n")),
            "peer-cert-file in " + path_ + ": it needs peer-key-file in " + path_ +
                ", and that needs it");
}

TEST_F(ConfigFile, HasSectionsForTls) {
  const Config config = parsed(written(R"(
listen-client-urls: https://10.0.0.1:2379
advertise-client-urls: https://10.0.0.1:2379
client-transport-security: {cert-file: c, key-file: k, client-cert-auth: true, trusted-ca-file: a}
peer-transport-security:
  auto-tls: true
)"));
  EXPECT_EQ(config.client_tls.files.certificate, "c");
  EXPECT_EQ(config.client_tls.files.key, "k");
  EXPECT_EQ(config.client_tls.files.trusted_ca, "a");
  EXPECT_TRUE(config.client_tls.require_certificate);
  EXPECT_TRUE(config.peer_tls.self_signed);
}

TEST(Config, ZooKeepersClientsAreServedWhereThatIsAskedFor) {
  EXPECT_TRUE(parsed({}).zookeeper.listen.empty());
  const Config config =
      parsed({"--listen-zookeeper=127.0.0.1:2181,tls://[::1]:2281", "--cert-file=c", "--key-file=k",
              "--zookeeper-reads=session", "--zookeeper-words=ruok,mntr",
              "--zookeeper-admin=127.0.0.1:8080", "--zookeeper-enforce-quota",
              "--zookeeper-advertise=10.0.0.1:2181", "--zookeeper-reconfig",
              "--zookeeper-super-digest=bob:ikIaKsbtGweaHnb/jKn7OHqbunM=",
              "--zookeeper-max-connections-per-address=60"});
  ASSERT_EQ(config.zookeeper.admin.size(), 1);
  EXPECT_EQ(config.zookeeper.admin[0].address().to_string(), "127.0.0.1:8080");
  ASSERT_EQ(config.zookeeper.listen.size(), 2);
  EXPECT_EQ(config.zookeeper.listen[0].address().to_string(), "127.0.0.1:2181");
  EXPECT_FALSE(config.zookeeper.listen[0].address().tls);
  EXPECT_EQ(config.zookeeper.listen[1].address().to_string(), "[::1]:2281");
  EXPECT_TRUE(config.zookeeper.listen[1].address().tls);
  EXPECT_TRUE(config.zookeeper.local_reads);
  EXPECT_TRUE(config.zookeeper.enforce_quota);
  EXPECT_EQ(config.zookeeper.advertise, "10.0.0.1:2181");
  EXPECT_TRUE(config.zookeeper.reconfig);
  EXPECT_FALSE(parsed({}).zookeeper.reconfig);
  EXPECT_EQ(config.zookeeper.super_digest, "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=");
  EXPECT_EQ(config.zookeeper.max_per_address, 60u);
  EXPECT_FALSE(parsed({}).zookeeper.enforce_quota);
  EXPECT_THAT(config.zookeeper.words, ElementsAre("ruok", "mntr"));
}

TEST(Config, WhatIsWrongAboutZooKeepersFlags) {
  EXPECT_EQ(refused({"--listen-zookeeper=2181"}),
            "--listen-zookeeper: \"2181\" does not have the form host:port");
  EXPECT_EQ(refused({"--listen-zookeeper=tls://h:2281"}),
            "--listen-zookeeper: tls:// needs --cert-file and --key-file");
  EXPECT_EQ(refused({"--zookeeper-admin=127.0.0.1:8080"}),
            "--zookeeper-admin: it needs --listen-zookeeper");
  EXPECT_EQ(refused({"--listen-zookeeper=h:2181", "--zookeeper-admin=tls://h:8080"}),
            "--zookeeper-admin: tls:// needs --cert-file and --key-file");
  EXPECT_EQ(
      refused({"--zookeeper-super-digest=bob:pw"}),
      "--zookeeper-super-digest: it must be a user's name, a colon, and 28 letters of base64");
  EXPECT_THAT(refused({"--zookeeper-max-connections-per-address=-1"}),
              HasSubstr("--zookeeper-max-connections-per-address"));
  EXPECT_EQ(refused({"--zookeeper-advertise=2181"}),
            "--zookeeper-advertise: \"2181\" does not have the form host:port");
  EXPECT_EQ(refused({"--zookeeper-reconfig"}),
            "--zookeeper-reconfig: it needs --zookeeper-advertise, without which "
            "/zookeeper/config says nothing");
  EXPECT_EQ(refused({"--zookeeper-reads=stale"}),
            "--zookeeper-reads: \"stale\" is neither linearizable nor session");
}

}  // namespace
}  // namespace conclave::server
