//! One conformance suite for every store: each story is told to the memory store and to SQLite.
//!
//! A story is a plain async function over a [`Fixture`]. What only one store can do stands in `memory` and `sqlite`.

mod administration;
mod agents;
mod blocks;
mod commands;
mod events;
mod fixture;
mod memory;
mod projects;
mod sqlite;
mod states;
mod traces;
mod transactions;

macro_rules! conformance {
    ($($module:ident { $($story:ident),* $(,)? })*) => {
        mod on_memory {$(
            mod $module {$(
                #[tokio::test]
                async fn $story() {
                    crate::$module::$story(crate::fixture::Fixture::memory().await).await;
                }
            )*}
        )*}
        mod on_sqlite {$(
            mod $module {$(
                #[tokio::test]
                async fn $story() {
                    crate::$module::$story(crate::fixture::Fixture::sqlite().await).await;
                }
            )*}
        )*}
    };
}

conformance! {
    agents {
        an_agent_is_created_loaded_and_found_again,
        a_reserved_number_that_is_not_written_does_not_come_to_exist,
        numbers_are_never_given_out_twice,
        agents_are_counted_by_project,
        the_same_name_in_two_projects_is_two_agents,
        settings_survive_a_restart_and_can_be_replaced,
        pages_and_scans_go_by_number,
        due_agents_come_oldest_deadline_first_and_move_with_it,
    }
    states {
        every_part_of_a_state_survives_a_restart,
        a_state_can_be_replaced,
        what_is_remembered_of_a_project_survives_a_restart,
    }
    transactions {
        a_transaction_dropped_without_commit_changes_nothing,
        the_second_transaction_waits_for_the_first,
        a_transaction_can_load_twice,
        a_commit_writes_everything_or_nothing,
        an_empty_commit_is_fine,
        a_commit_nobody_waits_for_any_more_leaves_nothing_half_done,
        many_writers_lose_no_update,
    }
    commands {
        commands_survive_a_restart_open_and_ended,
        open_commands_are_loaded_by_project,
        due_commands_follow_the_lease_then_the_last_moment,
        ended_commands_are_no_longer_due_nor_open,
        a_projects_commands_come_newest_first,
    }
    traces {
        a_trace_absorbs_what_each_commit_changed_and_survives_a_restart,
        a_trace_that_begins_anew_forgets_its_spans,
        spans_that_change_later_survive_a_restart,
        a_trace_is_due_at_its_deadline_and_no_longer_when_it_moves,
        what_was_learned_of_a_service_survives_a_restart,
        two_projects_may_send_the_same_trace,
        dedup_keys_survive_a_restart_and_are_forgotten_by_age,
        untouched_traces_are_forgotten_by_age,
        a_long_trace_keeps_its_first_spans_while_it_is_touched,
    }
    events {
        events_are_numbered_in_order,
        events_are_read_by_agent_by_age_and_by_number_of_rows,
        events_after_a_number_come_oldest_first,
        a_project_never_sees_anothers_events,
        old_events_are_forgotten_project_by_project_and_numbers_go_on,
    }
    projects {
        a_project_is_made_once,
        keys_are_put_replaced_and_revoked,
        the_last_use_of_a_key_is_noted,
        presence_and_gaps_survive_a_restart,
        a_gap_told_again_is_one_gap,
        only_the_newest_gaps_are_kept,
        a_store_in_order_answers_a_ping,
    }
    administration {
        a_renamed_agent_is_found_under_all_its_names,
        a_name_in_use_is_never_a_former_one,
        what_an_agent_leaves_goes_to_the_one_it_becomes_part_of,
        a_removed_agent_leaves_nothing_and_its_number_is_not_given_out_again,
        an_agent_that_ends_and_begins_in_one_commit_is_a_new_one,
        history_survives_a_restart_and_is_forgotten_by_project,
        names_that_wait_are_loaded_when_they_are_looked_up,
        similar_names_are_found_within_a_project,
        a_projects_agents_are_read_in_chunks,
        windows_are_numbered_kept_and_their_numbers_not_given_out_again,
        projects_and_keys_come_with_a_commit,
        the_audit_chain_holds_over_commits_and_restarts,
    }
}
