#pragma once
// The bounds that keep clients of one member apart, beside those in base/limits.h.

#include <cstddef>
#include <cstdint>

#include "base/limits.h"

namespace conclave::limits {

// What a request costs, in bytes, beside its own and its answer's: its share of the loop's time,
// compared with what a byte takes.
inline constexpr std::uint64_t kRequestCost = 8 * kKiB;
inline constexpr std::uint64_t kOperationCost = 1 * kKiB;  // each of a transaction
inline constexpr std::uint64_t kKeyCost = 128;             // each that a range looks at
// What a connection gets before the next one has its turn.
inline constexpr std::uint64_t kFairQuantum = 60 * kKiB;

// Writes of one member that are on their way through the log at the same time, by cost; the others
// wait in a fair queue. Enough to keep disk and network busy between members that are near, and
// what it may grow to between others (node/admission_window.h). A connection that had nothing
// waiting may go beyond, up to twice as much.
inline constexpr std::uint64_t kAdmittedCost = 4 * kMiB;
inline constexpr std::uint64_t kMaxAdmittedCost = 64 * kMiB;
// Reads that are carried out in one turn of the loop, by cost (and see kReadSlicesPerTurn).
inline constexpr std::uint64_t kReadCostPerTurn = 2 * kMiB;
// Of a range that takes more than a turn: its share of each.
inline constexpr std::size_t kLongReadKeys = 4'096;
inline constexpr std::size_t kLongReadBytes = 128 * kKiB;

// Of one connection: requests that have not been answered, writes and reads each, beyond which it
// is told "too many requests".
inline constexpr std::size_t kMaxConnectionRequests = 16'384;
inline constexpr std::size_t kMaxConnectionRequestBytes = 64 * kMiB;
inline constexpr std::size_t kMaxInflightReadBytes = 128 * kMiB;
// While all connections together are beyond their limit, one that has less than this waiting is
// still served: whoever floods a member is refused, and not the others.
inline constexpr std::size_t kLittleRequests = 16;
inline constexpr std::size_t kLittleRequestBytes = 64 * kKiB;

// Of requests that are still arriving, on all connections together; and what one may have of them
// beyond that, which is enough for any request.
inline constexpr std::size_t kMaxAllBufferedBytes = 256 * kMiB;
inline constexpr std::size_t kLittleBufferedBytes = 2 * kMiB;
// What clients sent is shown to their sessions in such pieces. In a turn of the loop a connection
// has its share of what its bytes and requests cost, and then others that sent as much have theirs,
// until all is used up.
inline constexpr std::size_t kInputPieceBytes = 4 * kKiB;
inline constexpr std::uint64_t kInputShare = 512 * kKiB;
inline constexpr std::uint64_t kInputCostPerTurn = 2 * kMiB;
// Of answers that one connection is given in a turn.
inline constexpr std::size_t kSendPieceBytes = 128 * kKiB;

}  // namespace conclave::limits
