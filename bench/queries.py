"""The two files as plain queries of the views, in the default format of exports.yml."""

_LABELS = {
    "broadcast": "Broadcasts",
    "open": "Opens",
    "click": "Clicks",
    "soft_bounce": "Soft bounces",
    "hard_bounce": "Hard bounces",
    "complaint": "Complaints",
    "unsubscribe": "Unsubscribes",
}


def of_files(moment: str, collation: str = "", schema: str = "exports") -> dict[str, str]:
    """Return the query of each kind of file, in the order of its rows.

    `moment` is the engine's expression for a time as text, with {} for the column. `collation` is
    the clause that makes the engine compare texts byte by byte. `schema` is the schema of the
    views, or of tables with the same rows.
    """
    labels = " ".join(f"when '{code}' then '{label}'" for code, label in _LABELS.items())
    return {
        "broadcast": f"""
            select broadcast_id as "Broadcast ID", broadcast_type as "Broadcast type",
                description as "Description", subject as "Subject",
                {moment.format("sent_on")} as "Sent on"
            from {schema}.broadcasts_daily
            order by sent_on, broadcast_id{collation}""",
        "activity": f"""
            select broadcast_id as "Broadcast ID", customer_id as "Customer ID",
                external_customer_number as "External customer number",
                email_address as "E-mail address", case activity {labels} end as "Activity",
                {moment.format("activity_date")} as "Activity date",
                description as "Description of activity"
            from {schema}.activities_daily
            order by activity_date, broadcast_id{collation}, customer_id{collation},
                activity{collation}, event_id{collation}""",
    }
