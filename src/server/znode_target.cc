#include "server/znode_target.h"

#include <fmt/format.h>

#include <random>
#include <utility>

#include "base/limits.h"
#include "server/text.h"

namespace conclave::server {

namespace {

constexpr const char* kImport = "/conclave.v1.Znodes/Import";
constexpr const char* kExport = "/conclave.v1.Znodes/Export";
constexpr std::size_t kStepBytes = 256 * limits::kKiB;
constexpr int kStepNodes = 500;

// For a step that is too large.
std::string largest_node(const v1::ImportRequest& request) {
  const v1::Znode* largest = nullptr;
  for (const v1::Znode& node : request.nodes()) {
    if (largest == nullptr || node.ByteSizeLong() > largest->ByteSizeLong()) largest = &node;
  }
  return largest == nullptr ? "" : fmt::format("; its largest node is {}", largest->path());
}

}  // namespace

Result<std::string> ZnodeTarget::load(const std::function<void(const v1::Znode&)>& visit) {
  v1::ExportRequest request;
  while (true) {
    const auto part = client_.ask<v1::ExportResponse>(kExport, request);
    if (!part) return Failure(client_.error(part.error()));
    for (const v1::Znode& node : part->nodes()) {
      const bool is_own = node.path() == "/zookeeper" || node.path().starts_with("/zookeeper/");
      if (!is_own) visit(node);
    }
    if (part->next().empty()) return part->mark();
    request.set_from(part->next());
  }
}

bool ZnodeTarget::is_of(std::string_view mark, std::string_view identity) {
  return mark.ends_with(fmt::format(" {}", identity));
}

// The third word of it, behind "hosts=".
std::vector<std::string> ZnodeTarget::hosts_of(std::string_view mark) {
  constexpr std::string_view kName = " hosts=";
  const std::size_t at = mark.find(kName);
  if (at == std::string_view::npos) return {};
  const std::string_view rest = mark.substr(at + kName.size());
  const auto hosts = split(rest.substr(0, rest.find(' ')), ',');
  return {hosts.begin(), hosts.end()};
}

std::string ZnodeTarget::next_mark() {
  return fmt::format("run={} step={} hosts={} {}", run_, ++steps_, hosts_, identity_);
}

Result<void> ZnodeTarget::begin(std::string before, std::string hosts, std::string_view identity,
                                std::vector<v1::Znode> nodes) {
  std::random_device random;
  run_ = fmt::format("{:08x}{:08x}", random(), random());
  hosts_ = std::move(hosts);
  identity_ = identity;
  mark_ = std::move(before);
  v1::ImportRequest request;
  for (v1::Znode& node : nodes) *request.add_nodes() = std::move(node);
  return step(next_mark(), request);
}

Result<void> ZnodeTarget::step(std::string after, v1::ImportRequest& request) {
  request.set_before(mark_);
  request.set_after(after);
  request.set_merge(merge_);
  const auto done = client_.ask<v1::ImportResponse>(kImport, request);
  if (!done) {
    Error error = client_.error(done.error());
    const bool is_invalid = done.error().code == wire::GrpcCode::kInvalidArgument;
    if (is_invalid) error.message += largest_node(request);
    return Failure(std::move(error));
  }
  mark_ = std::move(after);
  written_ += static_cast<std::uint64_t>(request.nodes_size());
  removed_ += static_cast<std::uint64_t>(request.removed_size());
  return {};
}

void ZnodeTarget::add(v1::Znode node) {
  waiting_bytes_ += node.ByteSizeLong();
  *waiting_.add_nodes() = std::move(node);
}

bool ZnodeTarget::is_full() const {
  return waiting_bytes_ >= kStepBytes || waiting_.nodes_size() >= kStepNodes;
}

// What came while it was full may be more than one step takes.
Result<void> ZnodeTarget::flush() {
  v1::ImportRequest all = std::exchange(waiting_, {});
  waiting_bytes_ = 0;
  v1::ImportRequest request;
  std::size_t bytes = 0;
  for (v1::Znode& node : *all.mutable_nodes()) {
    const std::size_t size = node.ByteSizeLong();
    const bool is_full = request.nodes_size() >= kStepNodes || bytes + size > kStepBytes;
    if (is_full && request.nodes_size() > 0) {
      TRY(step(next_mark(), request));
      request.Clear();
      bytes = 0;
    }
    bytes += size;
    *request.add_nodes() = std::move(node);
  }
  if (request.nodes_size() == 0) return {};
  return step(next_mark(), request);
}

Result<void> ZnodeTarget::remove(const std::vector<std::string>& paths) {
  v1::ImportRequest request;
  std::size_t bytes = 0;
  for (const std::string& path : paths) {
    request.add_removed(path);
    bytes += path.size();
    if (request.removed_size() < kStepNodes && bytes < kStepBytes) continue;
    TRY(step(next_mark(), request));
    request.Clear();
    bytes = 0;
  }
  if (request.removed_size() == 0) return {};
  return step(next_mark(), request);
}

Result<void> ZnodeTarget::end() {
  v1::ImportRequest request;
  return step("", request);
}

}  // namespace conclave::server
