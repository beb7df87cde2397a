// Tests `conclave dev` with this very program in the place of `conclave`: called with "serve" it
// plays a member that checks its flags and answers /health.

#include "server/dev.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "server/canned_server.h"
#include "server/config.h"
#include "server/dev_plan.h"
#include "server/http_client.h"

namespace conclave::server {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// The member: MEMBER_DIES names one that gives up at once, MEMBER_STAYS one that does not mind
// SIGTERM.
int play_member(const std::vector<std::string>& arguments) {
  const auto config = parse_config(arguments, environment());
  if (!config) return 3;
  if (!config->warnings.empty()) return 4;
  const auto says = [&](const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr && config->name == value;
  };
  if (says("MEMBER_DIES")) {
    fmt::print(stderr, "line one\n{} feels unwell\n", config->name);
    return 7;
  }
  if (says("MEMBER_STAYS")) std::signal(SIGTERM, SIG_IGN);
  std::filesystem::create_directories(config->data_dir);
  const CannedServer server(config->listen_client_urls[0].port,
                            {{"/health", R"({"health":"true"})"}});
  while (true) ::pause();
}

// `conclave dev` in a process of its own.
class DevTest : public testing::Test {
 protected:
  static constexpr std::uint16_t kBase = 24500;

  DevTest() {
    std::string name = testing::TempDir() + "conclave-devtest-XXXXXX";
    directory_ = ::mkdtemp(name.data());
  }
  ~DevTest() override {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    std::filesystem::remove_all(directory_);
  }

  // Each test has ports of its own.
  void start(std::uint16_t base, std::vector<std::string> more = {},
             const Environment& variables = {}) {
    base_ = base;
    more.push_back(fmt::format("--base-port={}", base));
    pid_ = ::fork();
    if (pid_ != 0) return;
    for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1);
    ::setenv("TMPDIR", directory_.c_str(), 1);
    const int out = ::open(out_path().c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(out, STDERR_FILENO);
    ::_exit(run_dev(more));
  }

  std::string out_path() const { return directory_ + "/out"; }
  std::string output() const {
    std::ifstream file(out_path());
    return {std::istreambuf_iterator<char>(file), {}};
  }

  void wait_for(const std::string& text) {
    for (int i = 0; i < 1500 && output().find(text) == std::string::npos; ++i) {
      std::this_thread::sleep_for(milliseconds(10));
    }
    EXPECT_THAT(output(), HasSubstr(text));
  }

  int exit_code() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  bool healthy(int member) const {
    const auto port = static_cast<std::uint16_t>(base_ + 10 * member);
    return HttpClient()
        .request({"127.0.0.1", port}, HttpMethod::kGet, "/health", "", seconds(1))
        .has_value();
  }

  std::vector<std::string> names_in_directory() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
      names.push_back(entry.path().filename());
    }
    return names;
  }

  std::string directory_;
  std::uint16_t base_ = 0;
  pid_t pid_ = 0;
};

TEST_F(DevTest, StartsTellsStopsAndCleansUp) {
  start(kBase, {}, {{"ETCD_CERT_FILE", "from another cluster"}});
  wait_for("Ctrl-C stops the cluster");
  for (int member = 0; member < 3; ++member) EXPECT_TRUE(healthy(member));
  EXPECT_THAT(output(), AllOf(HasSubstr("m1  http://127.0.0.1:24500"),
                              HasSubstr("m3  http://127.0.0.1:24520"), HasSubstr("removed"),
                              HasSubstr("127.0.0.1:24500,127.0.0.1:24510,127.0.0.1:24520")));
  ::kill(pid_, SIGINT);
  EXPECT_EQ(exit_code(), 0);
  for (int member = 0; member < 3; ++member) EXPECT_FALSE(healthy(member));
  EXPECT_THAT(names_in_directory(), testing::ElementsAre("out"));
}

TEST_F(DevTest, KeepsANamedDirectory) {
  const std::string data = directory_ + "/deep/er";
  start(kBase + 50, {"--members=1", "--data-dir", data});
  wait_for("Ctrl-C stops the cluster");
  ::kill(pid_, SIGTERM);
  EXPECT_EQ(exit_code(), 0);
  EXPECT_TRUE(std::filesystem::is_directory(data + "/m1"));
  EXPECT_TRUE(std::filesystem::exists(data + "/m1.log"));
}

TEST_F(DevTest, AMemberThatDiesIsReportedAndTheOthersGoOn) {
  start(kBase + 100, {}, {{"MEMBER_DIES", "m2"}});
  wait_for("Ctrl-C stops the cluster");
  EXPECT_THAT(output(), AllOf(HasSubstr("m2 exited with code 7"), HasSubstr("m2 feels unwell")));
  EXPECT_TRUE(healthy(0));
  EXPECT_TRUE(healthy(2));
  ::kill(pid_, SIGTERM);
  EXPECT_EQ(exit_code(), 0);
}

TEST_F(DevTest, NobodyLeftIsAFailure) {
  start(kBase + 150, {"--members=1"}, {{"MEMBER_DIES", "m1"}});
  EXPECT_EQ(exit_code(), 1);
  EXPECT_THAT(output(), AllOf(HasSubstr("m1 feels unwell"), HasSubstr("No member runs")));
}

TEST_F(DevTest, ASecondSignalKillsWhoeverDoesNotStop) {
  start(kBase + 200, {"--members=2"}, {{"MEMBER_STAYS", "m2"}});
  wait_for("Ctrl-C stops the cluster");
  ::kill(pid_, SIGTERM);
  wait_for("Stopping");
  std::this_thread::sleep_for(milliseconds(300));
  ::kill(pid_, SIGTERM);
  EXPECT_EQ(exit_code(), 0);
  EXPECT_THAT(output(), HasSubstr("m2 does not stop: killing it"));
  EXPECT_THAT(output(), Not(HasSubstr("m1 does not stop")));
}

TEST_F(DevTest, MembersDieWithTheirParent) {
  start(kBase + 250, {"--members=2"});
  wait_for("Ctrl-C stops the cluster");
  ::kill(pid_, SIGKILL);
  EXPECT_EQ(exit_code(), -1);
  for (int i = 0; i < 200 && (healthy(0) || healthy(1)); ++i) {
    std::this_thread::sleep_for(milliseconds(10));
  }
  EXPECT_FALSE(healthy(0));
  EXPECT_FALSE(healthy(1));
}

TEST_F(DevTest, APortInUseIsNamed) {
  const CannedServer other(kBase + 311, {});
  start(kBase + 300, {"--members=2"});
  EXPECT_EQ(exit_code(), 1);
  EXPECT_THAT(output(), HasSubstr("port 24811 is in use"));
}

TEST_F(DevTest, WrongArgumentsAreExplained) {
  start(kBase + 350, {"--members=0"});
  EXPECT_EQ(exit_code(), 2);
  EXPECT_THAT(output(), HasSubstr("--members"));
}

TEST(DevPlan, UsesThePortsOfEtcdsExample) {
  DevOptions options;
  options.members = 6;
  options.data_dir = "/d";
  const auto members = plan_members(options).value();
  EXPECT_EQ(endpoints_of(members),
            "127.0.0.1:2379,127.0.0.1:22379,127.0.0.1:32379,127.0.0.1:42379,127.0.0.1:52379,"
            "127.0.0.1:52389");
  EXPECT_EQ(members[1].peer_port, 22380);
  EXPECT_EQ(members[1].data_dir, "/d/m2");
  options.base_port = 65'000;
  options.members = 3;
  EXPECT_TRUE(plan_members(options));
  options.base_port = 65'530;
  EXPECT_FALSE(plan_members(options));
}

TEST(DevPlan, ZooKeepersClientsHavePortsWhereTheyAreServed) {
  DevOptions options;
  options.members = 2;
  options.data_dir = "/d";
  options.base_port = 4000;
  EXPECT_EQ(zookeeper_hosts_of(plan_members(options).value()), "");
  options.zookeeper = true;
  const auto members = plan_members(options).value();
  EXPECT_EQ(zookeeper_hosts_of(members), "127.0.0.1:4002,127.0.0.1:4012");
  EXPECT_EQ(serve_arguments(members[1], members).back(), "--listen-zookeeper=127.0.0.1:4012");
}

}  // namespace
}  // namespace conclave::server

int main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "serve") {
    return conclave::server::play_member({argv + 2, argv + argc});
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
