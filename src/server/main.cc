// The `conclave` program: the server, and the command-line client beside it.

#include <cstdio>
#include <string>
#include <vector>

#include "server/dev.h"
#include "server/import.h"
#include "server/member.h"
#include "server/serve.h"
#include "server/snapshot.h"
#include "server/status.h"
#include "server/version.h"

namespace {

constexpr const char* kHelp =
    R"(Conclave: agreement for distributed systems, in the protocols of etcd v3 and ZooKeeper.

usage: conclave <command> [flags]

  serve     run one member of a cluster (takes etcd's flags)
  dev       run a whole cluster on this machine, to try things on
  import    copy a live etcd or ZooKeeper into a cluster, and follow it until the cut-over
  member    put a new member in the place of one that lost its disk
  snapshot  save everything to a file, check such a file, begin a new cluster with it
  status    show each member's role, term, index, lag and size
  version   print the version
  help      print this

`conclave <command> --help` tells more.
)";

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const std::string command = words.empty() ? "help" : words[0];
  const std::vector<std::string> arguments(words.begin() + (words.empty() ? 0 : 1), words.end());
  if (command == "serve") return conclave::server::run_serve(arguments);
  if (command == "dev") return conclave::server::run_dev(arguments);
  if (command == "import") return conclave::server::run_import(arguments);
  if (command == "member") return conclave::server::run_member(arguments);
  if (command == "snapshot") return conclave::server::run_snapshot(arguments);
  if (command == "status") return conclave::server::run_status(arguments);
  if (command == "version" || command == "--version") {
    std::printf("conclave %s\n", conclave::server::kConclaveVersion);
    return 0;
  }
  if (command == "help" || command == "--help" || command == "-h") {
    std::fputs(kHelp, stdout);
    return words.empty() ? 2 : 0;
  }
  std::fprintf(stderr, "conclave: unknown command \"%s\"\n\n%s", command.c_str(), kHelp);
  return 2;
}
