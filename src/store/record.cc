#include "store/record.h"

#include <cstring>
#include <new>

#include "base/check.h"
#include "store/hash.h"

namespace conclave::store {
namespace {

// Per record: the allocator's own bytes and the pointer in the history. Per key, about: its slot in
// the index.
constexpr std::uint64_t kOverheadBytes = 16 + 8 + 12;
constexpr std::size_t kHashedFrom = offsetof(Record, mod);

}  // namespace

std::uint64_t Record::hash() const {
  const char* start = reinterpret_cast<const char*>(this) + kHashedFrom;
  return hash_bytes({start, sizeof(Record) - kHashedFrom + key_size + value_size});
}

std::uint64_t Record::footprint() const {
  return sizeof(Record) + key_size + value_size + kOverheadBytes;
}

api::KeyValue Record::to_api(bool with_value) const {
  return {.key = Bytes(key()),
          .value = with_value ? Bytes(value()) : Bytes(),
          .create_revision = create,
          .mod_revision = mod,
          .version = version,
          .lease = lease};
}

Record* make_record(const Record& head, BytesView key, Pieces value) {
  std::size_t value_size = 0;
  for (const BytesView piece : value) value_size += piece.size();
  CHECK(key.size() <= UINT32_MAX);
  CHECK(value_size <= UINT32_MAX);
  char* memory = static_cast<char*>(::operator new(sizeof(Record) + key.size() + value_size));
  auto* record = new (memory) Record(head);
  record->key_size = static_cast<std::uint32_t>(key.size());
  record->value_size = static_cast<std::uint32_t>(value_size);
  char* bytes = memory + sizeof(Record);
  if (!key.empty()) std::memcpy(bytes, key.data(), key.size());
  bytes += key.size();
  for (const BytesView piece : value) {
    if (!piece.empty()) std::memcpy(bytes, piece.data(), piece.size());
    bytes += piece.size();
  }
  return record;
}

void free_record(Record* record) { ::operator delete(record); }

}  // namespace conclave::store
