#include "io/posix/clock.h"

#include <gtest/gtest.h>

#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace conclave::io {
namespace {

class ClockTest : public testing::Test {
 protected:
  void say(std::string word) { said_.push_back(std::move(word)); }
  void stop_after(Duration delay) {
    clock_->after(delay, [this] { loop_.stop(); });
  }

  Loop loop_;
  std::unique_ptr<PosixClock> clock_ = std::make_unique<PosixClock>(loop_);
  std::vector<std::string> said_;
};

using Words = std::vector<std::string>;

TEST_F(ClockTest, TimersFireInOrderOfTheirTimeAndThenOfTheirSetting) {
  clock_->after(milliseconds(20), [this] { say("c"); });
  clock_->after(milliseconds(1), [this] { say("a"); });
  clock_->after(milliseconds(10), [this] { say("b"); });
  stop_after(milliseconds(40));
  loop_.run();
  EXPECT_EQ(said_, (Words{"a", "b", "c"}));
}

TEST_F(ClockTest, TimersNeverFireEarly) {
  const Instant start = clock_->now();
  Instant fired;
  clock_->after(milliseconds(15), [&] {
    fired = clock_->now();
    loop_.stop();
  });
  loop_.run();
  EXPECT_GE(fired - start, milliseconds(15));
}

TEST_F(ClockTest, CancelledTimersDoNotFire) {
  const auto early = clock_->after(milliseconds(1), [this] { say("early"); });
  const auto late = clock_->after(milliseconds(10), [this] { say("late"); });
  clock_->after(milliseconds(5), [this, late] {
    say("cancel");
    clock_->cancel(late);
    clock_->cancel(late);
  });
  clock_->cancel(early);
  clock_->cancel(12345);
  stop_after(milliseconds(25));
  loop_.run();
  EXPECT_EQ(said_, (Words{"cancel"}));
}

TEST_F(ClockTest, ATimerMayCancelOneThatIsDueAtTheSameTime) {
  Clock::TimerId second = 0;
  clock_->after(milliseconds(-5), [&] {
    say("first");
    clock_->cancel(second);
  });
  second = clock_->after(milliseconds(-5), [this] { say("second"); });
  stop_after(milliseconds(5));
  loop_.run();
  EXPECT_EQ(said_, (Words{"first"}));
}

TEST_F(ClockTest, TimersThatSetTimersOfNoDelayLetTheLoopGoOn) {
  std::move_only_function<void()> again = [&] { clock_->after(Duration{}, [&] { again(); }); };
  again();
  loop_.post([this] { clock_->post([this] { loop_.stop(); }); });
  loop_.run();
}

TEST_F(ClockTest, ATimerMayDestroyTheClock) {
  clock_->after(Duration{}, [this] {
    say("destroy");
    clock_.reset();
    loop_.post([this] { loop_.stop(); });
  });
  clock_->after(Duration{}, [this] { say("never"); });
  loop_.run();
  EXPECT_EQ(said_, (Words{"destroy"}));
}

TEST_F(ClockTest, PostsRunAfterWhatIsReadyAndFlushesAfterPosts) {
  loop_.post_from_thread([this] {
    loop_.post_flush([this] { say("flush"); });
    clock_->post([this] {
      say("post");
      clock_->post([this] {
        say("next turn");
        loop_.stop();
      });
    });
    say("ready 1");
  });
  loop_.post_from_thread([this] { say("ready 2"); });
  loop_.run();
  EXPECT_EQ(said_, (Words{"ready 1", "ready 2", "post", "flush", "next turn"}));
}

TEST_F(ClockTest, OtherThreadsWakeTheLoop) {
  std::jthread other([this] {
    for (int i = 0; i < 100; ++i) loop_.post_from_thread([this] { say("x"); });
    loop_.post_from_thread([this] { loop_.stop(); });
  });
  loop_.run();
  EXPECT_EQ(said_.size(), 100U);
}

TEST_F(ClockTest, AStopBeforeTheRunIsNotForgotten) {
  loop_.stop();
  loop_.run();
  loop_.post([this] {
    say("second run");
    loop_.stop();
  });
  loop_.run();
  EXPECT_EQ(said_, (Words{"second run"}));
}

TEST_F(ClockTest, SignalsArriveOnTheLoopEachTime) {
  loop_.on_signal(SIGHUP, [this] { say("hup"); });
  loop_.on_signal(SIGTERM, [this] {
    say("term");
    loop_.stop();
  });
  clock_->after(milliseconds(1), [] { std::raise(SIGHUP); });
  clock_->after(milliseconds(10), [] { std::raise(SIGHUP); });
  clock_->after(milliseconds(20), [] { std::raise(SIGTERM); });
  loop_.run();
  EXPECT_EQ(said_, (Words{"hup", "hup", "term"}));
}

TEST_F(ClockTest, WallTimeIsMillisecondsSince1970) {
  EXPECT_GT(clock_->wall_ms(), 1'600'000'000'000U);
  EXPECT_LT(clock_->wall_ms(), 10'000'000'000'000U);
}

}  // namespace
}  // namespace conclave::io
