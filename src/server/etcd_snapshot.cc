#include "server/etcd_snapshot.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <optional>
#include <system_error>
#include <utility>

#include "etcd.pb.h"
#include "etcd_kv.pb.h"

namespace conclave::server {

namespace {

constexpr const char* kSnapshotMethod = "/etcdserverpb.Maintenance/Snapshot";
constexpr Duration kPieceLimit = seconds(30);
constexpr int kMostDownloads = 5;  // that break off
constexpr Duration kPauseAfterOne = seconds(1);

Failure system_failure(std::string_view what) {
  const int error = errno;
  const bool is_full = error == ENOSPC || error == EDQUOT;
  return fail(is_full ? ErrorCode::kNoSpace : ErrorCode::kIo,
              fmt::format("{}: {}", what, std::generic_category().message(error)));
}

// A member sends what it has applied: after a linearizable read of it, that is all there was
// before.
Result<std::optional<EtcdCall>> begin_snapshot(EtcdClient& client) {
  etcdserverpb::RangeRequest request;
  request.set_key("conclave.import/state");
  const auto answer = client.ask<etcdserverpb::RangeResponse>("/etcdserverpb.KV/Range", request);
  if (!answer) return Failure(client.error(answer.error()));
  return client.begin(kSnapshotMethod, etcdserverpb::SnapshotRequest());
}

// How the call has ended.
Result<wire::GrpcStatus> receive(Pump& pump, EtcdCall& call, EtcdSnapshot& into,
                                 const SnapshotProgress& show) {
  std::uint64_t bytes = 0;
  while (true) {
    if (!pump.run_until([&] { return call.is_ready(); }, kPieceLimit)) {
      call.abandon_connection("no answer in time");
    }
    const auto message = call.take();
    if (!message) return call.status();
    etcdserverpb::SnapshotResponse piece;
    if (!piece.ParseFromString(*message)) {
      return fail(ErrorCode::kCorrupt, "a piece of the etcd's snapshot cannot be read");
    }
    TRY(into.add(piece.blob()));
    bytes += piece.blob().size();
    show(bytes, piece.remaining_bytes());
  }
}

}  // namespace

Result<std::unique_ptr<NamelessFile>> NamelessFile::create() {
  const char* const wanted = std::getenv("TMPDIR");
  std::string path = wanted == nullptr || *wanted == '\0' ? "/tmp" : wanted;
  path += "/conclave-import-XXXXXX";
  const int file = ::mkostemp(path.data(), O_CLOEXEC);
  if (file < 0) return system_failure(path);
  ::unlink(path.c_str());
  return std::unique_ptr<NamelessFile>(new NamelessFile(file));
}

NamelessFile::~NamelessFile() { ::close(file_); }

Result<void> NamelessFile::append(BytesView bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(file_, bytes.data(), bytes.size(), static_cast<off_t>(size_));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return system_failure("a temporary file (TMPDIR says where)");
    size_ += static_cast<std::uint64_t>(written);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

Result<Bytes> NamelessFile::read(std::uint64_t offset, std::size_t size) const {
  Bytes bytes(size, '\0');
  std::size_t taken = 0;
  while (taken < size) {
    const ssize_t got =
        ::pread(file_, bytes.data() + taken, size - taken, static_cast<off_t>(offset + taken));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_failure("a temporary file (TMPDIR says where)");
    if (got == 0) break;
    taken += static_cast<std::size_t>(got);
  }
  bytes.resize(taken);
  return bytes;
}

Result<void> EtcdSnapshot::add(BytesView bytes) {
  last_ += bytes;
  if (last_.size() <= wire::Sha256::kBytes) return {};
  const std::size_t whole = last_.size() - wire::Sha256::kBytes;
  const BytesView content = BytesView(last_).substr(0, whole);
  hash_.add(content);
  TRY(file_->append(content));
  last_.erase(0, whole);
  return {};
}

Result<std::unique_ptr<NamelessFile>> EtcdSnapshot::finish() {
  if (hash_.finish() != last_) {
    return fail(ErrorCode::kCorrupt, "the etcd's snapshot is not what its SHA-256 says");
  }
  return std::move(file_);
}

Result<std::unique_ptr<NamelessFile>> download_snapshot(Pump& pump, EtcdClient& client,
                                                        const SnapshotProgress& show) {
  for (int tries = 1;; ++tries) {
    auto call = TRY(begin_snapshot(client));
    wire::GrpcStatus status{wire::GrpcCode::kUnavailable, "the connection was lost"};
    if (call) {
      EtcdSnapshot snapshot(TRY(NamelessFile::create()));
      status = TRY(receive(pump, *call, snapshot, show));
      if (status.code == wire::GrpcCode::kOk) return snapshot.finish();
    }
    const bool is_over = status.code != wire::GrpcCode::kUnavailable || tries == kMostDownloads;
    if (is_over || pump.stopped()) return Failure(client.error(status));
    pump.run_for(kPauseAfterOne);
  }
}

}  // namespace conclave::server
