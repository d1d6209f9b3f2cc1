//! Who is in which room. The same in every process of a run, and in every run with the same
//! numbers, so that results can be compared.

use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Rooms of one user at most.
const ROOMS_MAX: u32 = 5;
/// Of so many users, one comes and goes.
const COMING_AND_GOING: u32 = 4;
/// Any other number would do as well.
const SEED: u64 = 0xfa_4e;

/// The rooms of all users.
#[derive(Debug)]
pub(crate) struct Rooms {
    count: u32,
    /// By user, in order.
    of_user: Vec<Vec<u32>>,
}

impl Rooms {
    /// Deals `users` to `count` rooms, of which the k-th attracts people in proportion to
    /// 1 / k^`exponent` (Zipf's law). `None` when there are no rooms or the exponent is absurd.
    pub(crate) fn new(users: u32, count: u32, exponent: f64) -> Option<Self> {
        let weights = (1..=count).map(|rank| f64::from(rank).powf(-exponent));
        let attraction = WeightedIndex::new(weights).ok()?;
        let mut random = StdRng::seed_from_u64(SEED);
        let of_user = (0..users).map(|_| choose(&attraction, count, &mut random)).collect();
        Some(Self { count, of_user })
    }

    /// The rooms of a user.
    pub(crate) fn of(&self, user: u32) -> &[u32] {
        self.of_user.get(user as usize).map_or(&[], Vec::as_slice)
    }

    /// Whether a user comes and goes, and hears no typing events.
    pub(crate) fn comes_and_goes(user: u32) -> bool {
        user % COMING_AND_GOING == COMING_AND_GOING - 1
    }

    /// The topic of the typing events of a room; a room's own topic is its index.
    pub(crate) fn typing_topic(&self, room: u32) -> u32 {
        self.count + room
    }

    /// Appends the topics that a user hears.
    pub(crate) fn topics(&self, user: u32, into: &mut Vec<u32>) {
        let rooms = self.of(user);
        into.extend_from_slice(rooms);
        if !Self::comes_and_goes(user) {
            into.extend(rooms.iter().map(|&room| self.typing_topic(room)));
        }
    }
}

fn choose(attraction: &WeightedIndex<f64>, count: u32, random: &mut StdRng) -> Vec<u32> {
    let wanted = random.random_range(1..=ROOMS_MAX).min(count) as usize;
    let mut rooms = Vec::with_capacity(wanted);
    while rooms.len() < wanted {
        // An index of `count` weights fits.
        let mut room = u32::try_from(attraction.sample(random)).unwrap_or(0);
        // Whoever meets a room again goes to the next one: ends even where one attracts all.
        while rooms.contains(&room) {
            room = (room + 1) % count;
        }
        rooms.push(room);
    }
    rooms.sort_unstable();
    rooms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(rooms: &Rooms, users: u32) -> Vec<usize> {
        let inside = |room| (0..users).filter(|&user| rooms.of(user).contains(&room)).count();
        (0..rooms.count).map(inside).collect()
    }

    #[test]
    fn everybody_is_in_one_to_five_different_rooms() {
        let rooms = Rooms::new(2_000, 50, 1.1).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for user in 0..2_000 {
            let own = rooms.of(user);
            assert!(own.windows(2).all(|pair| pair[0] < pair[1]), "{own:?}");
            assert!(own.iter().all(|&room| room < 50));
            seen.insert(own.len());
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert_eq!(Rooms::new(9, 2, 30.0).unwrap().of_user.iter().map(Vec::len).max(), Some(2));
    }

    #[test]
    fn room_sizes_follow_the_exponent() {
        let steep = sizes(&Rooms::new(5_000, 100, 1.1).unwrap(), 5_000);
        assert!(steep[0] > 15 * steep[50], "{steep:?}");
        let flat = sizes(&Rooms::new(5_000, 100, 0.0).unwrap(), 5_000);
        assert!(flat[0] < 2 * flat[50], "{flat:?}");
        assert!(Rooms::new(1, 0, 1.0).is_none());
        assert!(Rooms::new(1, 5, f64::NAN).is_none());
    }

    #[test]
    fn the_same_numbers_give_the_same_rooms() {
        let (one, other) = (Rooms::new(99, 9, 1.0).unwrap(), Rooms::new(99, 9, 1.0).unwrap());
        assert_eq!(one.of_user, other.of_user);
    }

    #[test]
    fn who_comes_and_goes_hears_no_typing() {
        let rooms = Rooms::new(4, 10, 1.0).unwrap();
        for user in 0..4 {
            let mut topics = Vec::new();
            rooms.topics(user, &mut topics);
            let typing = topics.iter().filter(|&&topic| topic >= 10).count();
            let expected = if user == 3 { 0 } else { rooms.of(user).len() };
            assert_eq!(typing, expected);
        }
    }
}
