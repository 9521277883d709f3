"""The views of the record: what people ask of it, already joined.

`episode_overview` says of each episode who, when, what, and whether the served version knows it (`slow`)
and since when; `version_overview` and `namespace_overview` count; `marks` is the exam by episode;
`forget_overview` shows what was forgotten and whether its bytes are gone. Nothing is stored twice: a mark
is the exam result of (episode revision, version), never a column.
"""

from __future__ import annotations

from sqlalchemy import column, table

#: Name -> SELECT, in the common dialect of SQLite and PostgreSQL; created in this order.
VIEWS = {
    "marks": """
        SELECT r.version_id, r.namespace_id, r.episode_pk, r.revision, count(*) AS questions,
               sum(CASE WHEN r.correct THEN 1 ELSE 0 END) AS correct,
               CASE WHEN sum(CASE WHEN r.correct AND r.covered THEN 0 ELSE 1 END) = 0
                    THEN 'slow' ELSE 'fast' END AS mark
        FROM exam_results r
        GROUP BY r.version_id, r.namespace_id, r.episode_pk, r.revision""",
    "episode_overview": """
        SELECT n.user_id, n.agent_id, e.id, e.occurred_at, e.created_at, e.session_id, e.position, e.role,
               e.source, e.trust, e.text, e.revision, e.metadata, e.expires_at,
               coalesce(m.mark, 'fast') AS mark, v.id AS version_id, m.questions, m.correct,
               CASE WHEN m.mark = 'slow' THEN v.promoted_at END AS slow_since
        FROM episodes e
        JOIN namespaces n ON n.id = e.namespace_id
        LEFT JOIN versions v ON v.namespace_id = e.namespace_id AND v.state = 'active'
        LEFT JOIN marks m ON m.version_id = v.id AND m.episode_pk = e.pk AND m.revision = e.revision""",
    "version_overview": """
        SELECT n.user_id, n.agent_id, v.id, v.state, v.parent_id, v.run_id, v.base, v.created_at,
               v.promoted_at, v.retired_at, v.scores, v.reasons,
               (SELECT count(*) FROM version_episodes x WHERE x.version_id = v.id AND x.part = 'learnt')
                   AS episodes,
               (SELECT count(*) FROM marks m WHERE m.version_id = v.id AND m.mark = 'slow') AS slow
        FROM versions v JOIN namespaces n ON n.id = v.namespace_id""",
    "namespace_overview": """
        SELECT n.user_id, n.agent_id, n.key,
               (SELECT count(*) FROM episodes e WHERE e.namespace_id = n.id) AS episodes,
               (SELECT count(*) FROM episodes e WHERE e.namespace_id = n.id AND e.trust = 'trusted')
                   AS trusted,
               (SELECT max(e.created_at) FROM episodes e WHERE e.namespace_id = n.id) AS last_added_at,
               (SELECT v.id FROM versions v WHERE v.namespace_id = n.id AND v.state = 'active')
                   AS active_version,
               (SELECT count(*) FROM index_outbox o WHERE o.namespace_id = n.id) AS index_backlog,
               (SELECT count(*) FROM erasures x WHERE x.namespace_id = n.id AND x.erased_at IS NULL)
                   AS erasures_pending
        FROM namespaces n""",
    "forget_overview": """
        SELECT n.user_id, n.agent_id, x.reason, x.episodes, x.unserved_at, x.erased_at
        FROM erasures x JOIN namespaces n ON n.id = x.namespace_id""",
}

#: The view `marks`, to select from.
marks = table(
    "marks", column("version_id"), column("episode_pk"), column("revision"), column("mark"),
)  # fmt: skip
