#include "server/member.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>

#include "server/cluster_status.h"
#include "server/command_line.h"
#include "server/http_client.h"

namespace conclave::server {
namespace {

constexpr Duration kLimit = seconds(10);

const ListedMember* find(const std::vector<ListedMember>& members, const std::string& wanted) {
  const auto found = std::ranges::find_if(members, [&](const ListedMember& member) {
    return member.name == wanted || fmt::format("{:x}", member.id.value) == wanted;
  });
  return found == members.end() ? nullptr : &*found;
}

std::string add_request(const ListedMember& leaving) {
  std::string urls;
  for (const std::string& url : leaving.peer_urls) {
    urls += fmt::format("{}\"{}\"", urls.empty() ? "" : ",", url);
  }
  return fmt::format(R"({{"peerURLs":[{}],"isLearner":{},"replaces":"{}"}})", urls, leaving.learner,
                     leaving.id.value);
}

// Asking another one after no answer is safe: if it has happened, nobody is there to be replaced.
Result<void> replace(const HttpClient& http, const ListedMember& leaving,
                     const std::vector<io::Address>& endpoints) {
  Error last{ErrorCode::kIo, "no endpoint was given"};
  for (const io::Address& endpoint : endpoints) {
    const auto answer = http.request(endpoint, HttpMethod::kPost, "/v3/cluster/member/add",
                                     add_request(leaving), kLimit);
    if (answer && answer->status == 200) return {};
    last.message =
        endpoint.to_string() + ": " + (answer ? error_of(answer->body) : answer.error().message);
    if (answer) break;
  }
  return Failure(last);
}

std::string initial_cluster(const std::vector<ListedMember>& members, const ListedMember& leaving,
                            const std::string& name) {
  std::string text;
  for (const ListedMember& member : members) {
    for (const std::string& url : member.peer_urls) {
      text += fmt::format("{}{}={}", text.empty() ? "" : ",",
                          member.id == leaving.id ? name : member.name, url);
    }
  }
  return text;
}

}  // namespace

int run_member(const std::vector<std::string>& arguments) {
  const auto options = parse_replace_options(arguments);
  if (!options) return print(options.error());
  const auto& [endpoints, tls, user] = options->cluster;
  const auto http = log_in(tls, user, endpoints);
  if (!http) {
    fmt::print(stderr, "conclave member replace: {}\n", http.error().message);
    return 1;
  }
  const auto members = list_members(*http, endpoints);
  if (!members) {
    fmt::print(stderr, "conclave member replace: {}\n", members.error().message);
    return 1;
  }
  const ListedMember* leaving = find(*members, options->member);
  if (leaving == nullptr) {
    fmt::print(stderr, "conclave member replace: the cluster has no member \"{}\"\n",
               options->member);
    return 1;
  }
  const auto replaced = replace(*http, *leaving, endpoints);
  if (!replaced) {
    fmt::print(stderr, "conclave member replace: {}\n", replaced.error().message);
    return 1;
  }
  const std::string name = leaving->name.empty() ? options->member : leaving->name;
  fmt::print(
      "Member {:x} is replaced. Start {} with an empty data directory and\n"
      "  --initial-cluster-state existing --initial-cluster {}\n",
      leaving->id.value, name, initial_cluster(*members, *leaving, name));
  return 0;
}

}  // namespace conclave::server
