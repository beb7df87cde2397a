#pragma once
// ZooKeeper's messages as a client writes and reads them. Written from the protocol and not with
// the codec of the front-end, in which a mistake would cancel itself out.
//
// Whatever a member sends and cannot be read is a Finding.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace conclave::sim {

struct ZkOp {
  static constexpr std::int32_t kCreate = 1;
  static constexpr std::int32_t kDelete = 2;
  static constexpr std::int32_t kExists = 3;
  static constexpr std::int32_t kGetData = 4;
  static constexpr std::int32_t kSetData = 5;
  static constexpr std::int32_t kGetChildren = 8;
  static constexpr std::int32_t kSync = 9;
  static constexpr std::int32_t kPing = 11;
  static constexpr std::int32_t kGetChildren2 = 12;
  static constexpr std::int32_t kCheck = 13;
  static constexpr std::int32_t kMulti = 14;
  static constexpr std::int32_t kCreate2 = 15;
  static constexpr std::int32_t kReconfig = 16;
  static constexpr std::int32_t kMultiRead = 22;
  static constexpr std::int32_t kAuth = 100;
  static constexpr std::int32_t kSetWatches = 101;
  static constexpr std::int32_t kSetWatches2 = 105;
  static constexpr std::int32_t kAddWatch = 106;
  static constexpr std::int32_t kClose = -11;
};

struct ZkCode {
  static constexpr std::int32_t kOk = 0;
  static constexpr std::int32_t kInconsistency = -2;  // of a multi, after the part that failed
  static constexpr std::int32_t kBadArguments = -8;
  static constexpr std::int32_t kNewConfigNoQuorum = -13;
  static constexpr std::int32_t kReconfigInProgress = -14;
  static constexpr std::int32_t kNoNode = -101;
  static constexpr std::int32_t kNoAuth = -102;
  static constexpr std::int32_t kBadVersion = -103;
  static constexpr std::int32_t kNodeExists = -110;
  static constexpr std::int32_t kQuotaExceeded = -125;  // or the disk is full
};

struct ZkStat {
  std::int64_t czxid = 0;
  std::int64_t mzxid = 0;
  std::int32_t version = 0;
  std::int32_t cversion = 0;
  std::int64_t owner = 0;
  std::int32_t data_bytes = 0;
  std::int32_t children = 0;
  std::int64_t pzxid = 0;
};

enum class ZkEventType : std::int32_t { kCreated = 1, kDeleted = 2, kChanged = 3, kChildren = 4 };
struct ZkEvent {
  ZkEventType type = ZkEventType::kCreated;
  std::string path;
};
std::string describe(const ZkEvent& event);
// As a member sends it.
ZkEventType zk_event_type(std::int32_t number);

class JuteWriter {
 public:
  JuteWriter& number(std::int32_t value);
  JuteWriter& large(std::int64_t value);
  JuteWriter& flag(bool value);
  JuteWriter& bytes(std::string_view value);
  JuteWriter& list(const std::vector<std::string>& values);
  JuteWriter& raw(std::string_view value);
  const Bytes& written() const { return bytes_; }
  // With its length before it.
  Bytes packet() const;

 private:
  Bytes bytes_;
};

// The bytes outlive it.
class JuteReader {
 public:
  explicit JuteReader(std::string_view bytes) : rest_(bytes) {}
  std::int32_t number();
  std::int64_t large();
  bool flag();
  std::string bytes();
  std::vector<std::string> list();
  ZkStat stat();
  // REQUIRES: nothing follows.
  void end() const;

 private:
  std::uint64_t big_endian(std::size_t bytes);
  std::string_view take(std::size_t bytes);

  std::string_view rest_;
};

// --- bodies of requests -------------------------------------------------------------

enum class ZkMode : std::int32_t {
  kPersistent = 0,
  kEphemeral = 1,
  kSequential = 2,
  kEphemeralSequential = 3
};
Bytes zk_create(std::string_view path, std::string_view data, ZkMode mode);  // for anybody
Bytes zk_versioned(std::string_view path, std::int32_t version);             // delete, check
Bytes zk_set(std::string_view path, std::string_view data, std::int32_t version);
Bytes zk_watched(std::string_view path, bool watch);  // exists and reads
Bytes zk_sync(std::string_view path);
Bytes zk_add_watch(std::string_view path, bool recursive);
Bytes zk_auth(std::string_view scheme, std::string_view credentials);
// Texts as reconfig takes them; empty: none.
Bytes zk_reconfig(std::string_view joining, std::string_view leaving, std::string_view members,
                  std::int64_t from);
// Opcodes and bodies; also of a multiRead.
Bytes zk_multi(const std::vector<std::pair<std::int32_t, Bytes>>& parts);

// --- parts of an answer ------------------------------------------------------------

// Of a multi or a multiRead.
struct ZkPart {
  std::int32_t opcode = 0;  // -1: an error
  std::int32_t code = 0;
  std::string data;                // getData; of a create the path
  std::vector<std::string> names;  // getChildren
  ZkStat stat;                     // setData, getData
};
// All of the body of an answer to so many parts.
std::vector<ZkPart> read_parts(std::string_view body, std::size_t count);

}  // namespace conclave::sim
