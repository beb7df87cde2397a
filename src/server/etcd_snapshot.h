#pragma once
// The database file of an etcd, as its Maintenance service sends it.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "server/etcd_client.h"
#include "wire/sha256.h"

namespace conclave::server {

// A file without a name, which nobody else can open and which is gone with the process: a database
// has the hashes of passwords in it.
class NamelessFile {
 public:
  // In the directory that TMPDIR names, or /tmp. kNoSpace, kIo.
  static Result<std::unique_ptr<NamelessFile>> create();
  ~NamelessFile();
  NamelessFile(const NamelessFile&) = delete;
  NamelessFile& operator=(const NamelessFile&) = delete;

  Result<void> append(BytesView bytes);
  // Fewer than `size` only at its end.
  Result<Bytes> read(std::uint64_t offset, std::size_t size) const;
  std::uint64_t size() const { return size_; }

 private:
  explicit NamelessFile(int file) : file_(file) {}

  int file_;
  std::uint64_t size_ = 0;
};

// Takes what a snapshot streams, piece by piece: a file, and the SHA-256 of it behind it.
class EtcdSnapshot {
 public:
  explicit EtcdSnapshot(std::unique_ptr<NamelessFile> file) : file_(std::move(file)) {}

  Result<void> add(BytesView bytes);
  // kCorrupt: it was cut short, or changed on its way.
  Result<std::unique_ptr<NamelessFile>> finish();

 private:
  std::unique_ptr<NamelessFile> file_;
  wire::Sha256 hash_;
  Bytes last_;  // may be the checksum
};

// How many bytes have come, and how many are to come.
using SnapshotProgress = std::function<void(std::uint64_t, std::uint64_t)>;

// What a member has; everything that was acknowledged before is in it. The pump runs meanwhile.
Result<std::unique_ptr<NamelessFile>> download_snapshot(Pump& pump, EtcdClient& client,
                                                        const SnapshotProgress& show);

}  // namespace conclave::server
